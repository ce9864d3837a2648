"""Attacks on the verdict and on the results channel."""

from ludus.tools.sandbox.conformance.attack import Attack, Evidence, no_values, plain_values
from ludus.tools.sandbox.result import Verdict

_OK, _ERROR, _TIME = (Verdict.OK,), (Verdict.RUNTIME_ERROR,), (Verdict.TIME_LIMIT,)
_SHORT = 0.5

_FORGE = """
import json, os
said = [
    {"ended": 0, "killed": None, "seconds": 0, "filled": False, "peak": 0, "dirty": False},
    {"verdict": "ok", "exit_code": 0}, {"cell_status": 0}, {"rested": 0}, {"value": 42}, {"op": "kill"},
]
for number in range(3, 64):
    for message in said:
        try: os.write(number, json.dumps(message).encode() + b"\\n")
        except OSError: pass
"""
# Unpickled by anyone who trusts it, this leaves a file in the host's folder.
_PICKLE = """
import os, pickle
class Evil:
    def __reduce__(self):
        return os.system, (f"touch {host['folder']}/{host['mark']}",)
data = pickle.dumps(Evil())
for number in range(1, 16):
    for text in (data, data + b"\\n", len(data).to_bytes(8, "little") + data):
        try: os.write(number, text)
        except OSError: pass
"""


def _honest(evidence: Evidence) -> str:
    result = evidence.results[0]
    return "" if result.exit_code else f"the exit code is {result.exit_code!r}, and it left with 1"


def _exact(evidence: Evidence) -> str:
    values = [value.value for value in evidence.values if value.error is None]
    if strange := plain_values(evidence):
        return strange
    # A guest that says "equal to everything" has said 7, "seven" and True, and these are not equal to 8.
    return f"a value is equal to 8: {values!r}" if any(value == 8 for value in values) else ""


ATTACKS = (
    Attack("sys.exit(0)", "import sys\nsys.exit(0)\n1 / 0", _OK),
    Attack(
        "sys.exit(0) before the calls",
        "import sys\ndef attack(n): return 1\nsys.exit(0)",
        _OK,
        how="call",
        judge=plain_values,
    ),
    Attack(
        "os._exit(0)", "import os\ndef attack(n): return 1\nos._exit(0)", _OK, how="call", judge=no_values
    ),
    Attack(
        "os._exit(0) in a call", "import os\ndef attack(n): os._exit(0)", _OK, how="call", judge=no_values
    ),
    Attack(
        "os._exit(0) in a cell",
        "import os; os._exit(0)",
        (Verdict.OK, Verdict.RUNTIME_ERROR),
        how="session",
        then=("print('here again')",),
    ),
    Attack("forged result messages, then an error", _FORGE + "\nos._exit(1)", _ERROR, judge=_honest),
    Attack("forged result messages, then a loop", _FORGE + "\nwhile True: pass", _TIME, seconds=_SHORT),
    Attack(
        "forged result messages, called",
        _FORGE + "\ndef attack(n):\n    while True: pass",
        _TIME,
        seconds=_SHORT,
        how="call",
        judge=plain_values,
    ),
    Attack(
        "forged result messages in a cell",
        _FORGE + "\nwhile True: pass",
        (Verdict.OK, *_TIME),
        seconds=_SHORT,
        how="session",
    ),
    Attack("pickles in the result channel", _PICKLE, _OK),
    Attack(
        "pickles in the result channel, called",
        _PICKLE + "\ndef attack(n): return Evil() if n == 1 else data.decode('latin-1')",
        _OK,
        how="call",
        judge=plain_values,
    ),
    # Garbage hides the end of the cell, whose time then runs out.
    Attack(
        "pickles in the result channel, in a cell",
        _PICKLE,
        (Verdict.OK, *_ERROR, *_TIME),
        seconds=_SHORT,
        how="session",
    ),
    Attack(
        "objects that are equal to everything",
        """
def equal(base):
    return type("Equal", (base,), {"__eq__": lambda self, other: True, "__hash__": lambda self: 0})
def attack(n): return [equal(object)(), equal(int)(7), [equal(str)("seven")]][n - 1]
""",
        _OK,
        how="call",
        judge=_exact,
    ),
    Attack(
        "values that no parser likes",
        """
def attack(n):
    if n == 1: return float("nan"), float("inf"), 10 ** 4000
    if n == 2: return {"a": "\\ud800", "__class__": "os.system", "$ref": "#"}
    nested = []
    for _ in range(900): nested = [nested]
    return nested
""",
        _OK,
        how="call",
        judge=plain_values,
    ),
    Attack(
        "monkeypatched builtins",
        """
import builtins, json, os, sys
builtins.len = lambda *_: 99
builtins.print = builtins.compile = builtins.exec = lambda *_, **__: None
json.dumps = json.loads = lambda *_: '{"value": 42}'
builtins.isinstance = lambda *_: True
""",
        (Verdict.OK, *_ERROR),
        then=("import json\nif len([1]) != 1 or json.dumps(1) != '1': print('ESCAPED: to the next guest')",),
    ),
    Attack(
        "monkeypatched builtins, called",
        """
import builtins, json
def attack(n): return "honest"
json.dumps = lambda *_: '{"value": {"verdict": "ok"}}'
builtins.print = None
""",
        (Verdict.OK, *_ERROR),
        how="call",
        then=("print('next')",),
        judge=plain_values,
    ),
    Attack(
        "planted sitecustomize and conftest",
        """
for name in ("sitecustomize", "usercustomize", "conftest", "guest", "json", "os", "ludus", "main"):
    open(f"{name}.py", "w").write("print('ESCAPED: the next guest runs', __name__)")
open("planted.pth", "w").write("import os; print('ESCAPED: a .pth file runs')")
""",
        _OK,
        then=("print('next')", "import sys; print(sorted({'sitecustomize', 'conftest'} & {*sys.modules}))"),
    ),
)
