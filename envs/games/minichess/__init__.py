"""Gardner's minichess."""
