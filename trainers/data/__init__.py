"""Data of one's own to fine-tune on: files of conversations and of episodes, as rows of tokens."""
