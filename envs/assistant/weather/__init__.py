"""`ludus/Weather-v0`: questions about the weather, answered with a forecast."""
