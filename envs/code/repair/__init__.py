"""`ludus/CodeRepair-v0`: generated packages with one seeded fault, and the judge of their repair."""
