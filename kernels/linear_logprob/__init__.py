"""Log-probabilities of target tokens straight from hidden states, without the full logits."""
