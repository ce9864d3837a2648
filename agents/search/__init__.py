"""How a model is used: directly, or with more thought at test time."""
