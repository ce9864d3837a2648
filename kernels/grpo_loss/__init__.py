"""The policy loss of GRPO and its family, with gradient and metrics in one launch."""
