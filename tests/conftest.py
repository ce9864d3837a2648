"""Every test runs torch on one thread, so that pytest-xdist's workers do not fight over the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
