"""`ludus/Gem-v0`: the games of GEM."""
