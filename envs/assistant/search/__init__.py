"""`ludus/Search-v0`."""
