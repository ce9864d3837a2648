"""The configuration of a run: what its tables hold, how it is read, what is refused."""
