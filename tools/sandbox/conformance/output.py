"""Attacks with output and input."""

from ludus.tools.sandbox.conformance.attack import Attack, Evidence
from ludus.tools.sandbox.result import Verdict


def _kept(text: str) -> str:
    return "" if text else "its output is lost"


def _replaced(evidence: Evidence) -> str:
    text = evidence.results[0].stdout
    return "" if text.startswith("a\ufffd") and text.endswith("z") else f"it came out as {text!r:.60}"


ATTACKS = (
    Attack("output flood", "while True: print('x' * 1000)", (Verdict.OUTPUT_LIMIT,)),
    Attack(
        "output flood on stderr",
        "import sys\nwhile True: print('x' * 1000, file=sys.stderr)",
        (Verdict.OUTPUT_LIMIT,),
    ),
    Attack(
        "output flood, called",
        "def attack(n):\n    while True: print('x' * 1000)",
        (Verdict.OUTPUT_LIMIT,),
        how="call",
    ),
    Attack(
        "flood of results",
        "def attack(n): return 'x' * (8 << 20)",
        (Verdict.OK, Verdict.OUTPUT_LIMIT, Verdict.MEMORY_LIMIT),
        how="call",
    ),
    Attack(
        "output flood in a cell",
        "while True: print('x' * 1000)",
        (Verdict.OUTPUT_LIMIT,),
        how="session",
        then=("print('here again')",),
    ),
    Attack(
        "output flood by children",
        """
import os
for _ in range(4): os.fork()
while True: os.write(1, b"x" * 4096); os.write(2, b"y" * 4096)
""",
        (Verdict.OUTPUT_LIMIT,),
        needs=("processes",),
    ),
    Attack(
        "invalid UTF-8",
        "import os; os.write(1, b'a' + bytes(range(128, 256)) + b'\\x00\\xf0\\x9fz')",
        (Verdict.OK,),
        judge=_replaced,
    ),
    Attack(
        "input that nobody reads",
        "print('done')",
        (Verdict.OK,),
        stdin=bytes(4 << 20),
        judge=lambda evidence: _kept(evidence.results[0].stdout),
    ),
    Attack(
        "atexit output",
        "import atexit; atexit.register(print, 'late')",
        (Verdict.OK,),
        judge=lambda evidence: _kept(evidence.results[0].stdout),
    ),
    Attack(
        "closed output",
        "import os, sys\nos.close(1); os.close(2)\nsys.exit(0)",
        (Verdict.OK, Verdict.RUNTIME_ERROR),
    ),
)
