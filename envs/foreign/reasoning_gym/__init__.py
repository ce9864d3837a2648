"""`ludus/ReasoningGym-v0`: the datasets of reasoning-gym."""
