"""What a model adds to the reward of finished episodes."""
