"""Training algorithms: one file each, one loop each."""
