"""Attacks on memory."""

from ludus.tools.sandbox.conformance.attack import Attack
from ludus.tools.sandbox.result import Verdict

_MEMORY = (Verdict.MEMORY_LIMIT,)
_HELD = ("memory",)

_CHILDREN = """
import mmap, os, time
shared = mmap.mmap(-1, 160 << 20)
for child in range(8):
    if os.fork() == 0:
        for page in range(child * 20 << 20, (child + 1) * 20 << 20, 4096):
            shared[page] = 1
        time.sleep(20)
time.sleep(20)
"""
_PRIVATE = """
import os, time
for child in range(8):
    if os.fork() == 0:
        held = os.urandom(1 << 16) * 320
        time.sleep(20)
time.sleep(20)
"""

ATTACKS = (
    Attack(
        "memory hog", "held = []\nwhile True: held.append(bytearray(b'x' * (1 << 20)))", _MEMORY, needs=_HELD
    ),
    Attack("one huge allocation", "bytearray(1 << 44)", _MEMORY),
    Attack(
        "memory hog that goes on",
        """
held = []
while True:
    try: held.append(bytearray(b"x" * (1 << 20)))
    except MemoryError: pass
""",
        (Verdict.MEMORY_LIMIT, Verdict.TIME_LIMIT),
        needs=_HELD,
    ),
    Attack("many children sharing memory", _CHILDREN, _MEMORY, needs=_HELD),
    Attack("many children with memory of their own", _PRIVATE, _MEMORY, needs=_HELD),
    Attack(
        "many children sharing memory, called",
        "def attack(n):\n" + _CHILDREN.replace("\n", "\n    "),
        _MEMORY,
        how="call",
        needs=_HELD,
    ),
    Attack(
        "many children sharing memory, in a cell",
        _CHILDREN,
        _MEMORY,
        how="session",
        then=("print('here again')",),
        needs=_HELD,
    ),
    Attack(
        "endless recursion",
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __del__(self): A()\n"
        "def f(x): return repr([f(x)])\nf(1)",
        (Verdict.RUNTIME_ERROR, Verdict.MEMORY_LIMIT),
        needs=_HELD,
    ),
    Attack(
        "memory that belongs to no process",
        """
import os
file = os.memfd_create("hidden")
for _ in range(160): os.write(file, bytes(1 << 20))
print("ESCAPED: it holds 160 MiB outside any process")
""",
        (Verdict.RUNTIME_ERROR, Verdict.MEMORY_LIMIT, Verdict.REFUSED, Verdict.DISK_LIMIT),
        needs=_HELD,
    ),
    Attack(
        "System V shared memory",
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmget.argtypes = ctypes.c_int, ctypes.c_size_t, ctypes.c_int
if libc.shmget(0, 4096, 0o1600) >= 0:
    print("ESCAPED: it made a segment of shared memory, which outlives it")
""",
        (Verdict.OK, Verdict.REFUSED),
        needs=("system calls",),
    ),
)
