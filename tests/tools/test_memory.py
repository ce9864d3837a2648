import subprocess
import sys

import pytest

from ludus.tools import memory

HOLES = """
import ctypes, sys
from ludus.tools.memory import give_back

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) // 1024

# A block in use after every one that is freed: nothing goes back by itself.
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
blocks = [library.malloc(ctypes.c_size_t(64 * 1024)) for _ in range(4000)]
for block in blocks:
    ctypes.memset(block, 1, 64 * 1024)
for block in blocks[::2]:
    library.free(block)
kept = resident()
give_back()
print(kept - resident())
"""


@pytest.mark.skipif(memory._malloc_trim() is None, reason="not the GNU C library")
def test_what_was_freed_between_other_blocks_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100  # of 125 MiB


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.give_back()
