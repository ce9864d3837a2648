"""`ludus/CodeFunction-v0` and `ludus/CodeFunctionRepl-v0`: write a function from its specification."""
