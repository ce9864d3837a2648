"""`ludus bench`: play a benchmark, and compare two of its runs."""
