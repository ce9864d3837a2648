"""LoRA adapters (arXiv:2106.09685): low-rank terms beside linear layers that stay as they are."""
