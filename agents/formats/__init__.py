"""Chat formats: messages to ids, sampled ids to a message."""
