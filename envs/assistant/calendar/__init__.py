"""`ludus/Calendar-v0`: other people's time, and one's own."""
