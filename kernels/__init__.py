"""Floor 1: fused tensor operators. Knows nothing of everything else."""
