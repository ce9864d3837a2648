"""Policy losses: what each one is, and what a token weighs in it."""
