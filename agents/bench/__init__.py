"""The benchmark: frozen tasks, runs that survive being killed, metrics with intervals, comparisons."""
