"""How much better than expected each episode did."""
