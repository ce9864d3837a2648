"""The benchmark: frozen tasks, a run that survives being killed, figures with intervals, comparisons."""
