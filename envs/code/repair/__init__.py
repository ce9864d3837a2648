"""`ludus/CodeRepair-v0`: generated packages with one seeded fault, and what judges their repair."""
