"""Inference engines: token ids in; sampled ids, their log-probabilities and a stop reason out."""
