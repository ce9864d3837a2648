"""The kinds of graders, one concept to a module; `kinds.py` names them all."""
