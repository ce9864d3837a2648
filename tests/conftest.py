"""What every test process starts with, however the tests were started."""

import os
import signal

# One thread for torch, so that pytest-xdist's workers do not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and Python then leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)
