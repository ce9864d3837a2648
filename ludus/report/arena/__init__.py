"""The report of an arena."""
