"""Data-parallel workers: processes that share the weights and take a part of each batch."""
