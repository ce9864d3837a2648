"""`ludus/CodeFunction-v0` and `ludus/CodeFunctionRepl-v0`: a function from its specification."""
