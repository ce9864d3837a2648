"""Attacks on time."""

from ludus.tools.sandbox.conformance.attack import Attack
from ludus.tools.sandbox.result import Verdict

_TIME = (Verdict.TIME_LIMIT,)
_SHORT = 0.5

ATTACKS = (
    Attack("infinite loop", "while True: pass", _TIME, seconds=_SHORT),
    Attack(
        "infinite loop, called", "def attack(n):\n    while n > 1: pass", _TIME, seconds=_SHORT, how="call"
    ),
    Attack(
        "infinite loop in a cell",
        "while True: pass",
        _TIME,
        seconds=_SHORT,
        how="session",
        then=("print('here again')",),
    ),
    Attack(
        "loop that catches everything",
        """
while True:
    try:
        while True: pass
    except BaseException:
        continue
""",
        _TIME,
        seconds=_SHORT,
    ),
    Attack(
        "ignored signals",
        """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
        _TIME,
        seconds=_SHORT,
    ),
    Attack("sleep", "import time; time.sleep(60)", _TIME, seconds=_SHORT),
    Attack(
        "stopping itself", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", _TIME, seconds=_SHORT
    ),
    Attack(
        "a regular expression that never ends",
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
        _TIME,
        seconds=_SHORT,
    ),
    Attack("sleep at exit", "import atexit, time; atexit.register(time.sleep, 60)", _TIME, seconds=_SHORT),
    Attack(
        "a thread that does not end",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
        _TIME,
        seconds=_SHORT,
    ),
    Attack(
        "setting the clock",
        """
import time
try:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    print("ESCAPED: it can set the clock")
except OSError: pass
""",
        (Verdict.OK, Verdict.REFUSED),
        needs=("system calls",),
    ),
)
