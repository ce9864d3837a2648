"""The arena: players of a game against each other, rated from their games."""
