"""The report of a measurement of test-time compute."""
