"""What stops or warns a run whose numbers no longer mean what they should: one alarm to a module."""
