"""Teachers: what another model says of the tokens that a policy sampled."""
