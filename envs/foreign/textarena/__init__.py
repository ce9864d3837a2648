"""`ludus/TextArena-v0`: the games of TextArena."""
