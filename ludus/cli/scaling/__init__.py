"""`ludus scaling`."""
