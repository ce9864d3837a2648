"""`ludus plan`: the memory of a run, by part and phase, before it starts."""
