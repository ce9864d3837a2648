"""`ludus serve`: tools and environments on a port."""
