"""`ludus sandbox`: build an image for the sandbox, and attack it to see whether it holds."""
