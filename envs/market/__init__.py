"""Trading in a simulated limit order book."""
