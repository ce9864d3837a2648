"""The market in words."""
