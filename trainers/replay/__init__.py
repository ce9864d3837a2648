"""A stored step, computed again: what a step's episode file holds of training, and what follows from it."""
