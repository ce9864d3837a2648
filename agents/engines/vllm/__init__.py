"""vLLM's own engine in this process, with the trainer's weights."""
