"""`ludus arena`."""
