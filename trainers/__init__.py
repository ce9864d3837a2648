"""Floor 5: supervised fine-tuning, GRPO, losses, checkpoints. Knows nothing of the command line."""
