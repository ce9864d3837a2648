"""Advantages of episodes relative to their group, in one launch."""
