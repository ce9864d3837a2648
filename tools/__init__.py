"""Floor 2: tool schemas, tool services and code sandboxes. Knows nothing of episodes or models."""
