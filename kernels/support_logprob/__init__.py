"""Log-probabilities over a recorded set of kept words per token, straight from hidden states."""
