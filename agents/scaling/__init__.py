"""Test-time compute: success against the tokens that a way of using a model spends."""
