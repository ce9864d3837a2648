"""Floor 3: episodes, spaces, environments, rewards and conformance. Knows nothing of models or torch."""
