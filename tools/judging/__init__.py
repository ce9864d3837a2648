"""Judging by a language model, without the model: what a judge is asked, and how its verdict is read."""
