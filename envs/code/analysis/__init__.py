"""Data analysis: worlds of dirty tables, questions about them, and the environment that asks them."""
