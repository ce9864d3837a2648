"""Floor 4: engines, chat formats, policies, rollouts and episode files. Knows nothing of training."""
