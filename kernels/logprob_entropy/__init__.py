"""Log-probabilities of target tokens and entropies, from logits."""
