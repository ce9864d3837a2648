"""Log-probabilities over a recorded set of kept ids per token, straight from hidden states."""
