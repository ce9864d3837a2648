"""`ludus/Calendar-v0`: an assistant for a user's calendar."""
