"""Scripted agents of the function environments, and hostile programs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, content_text
from ludus.envs.code.function.families import FAMILIES
from ludus.envs.scripted import ScriptedAgent, Silent


@dataclass(frozen=True)
class Question:
    """A question, read from the first user message."""

    signature: str
    spec: str
    examples: tuple[str, ...]
    """`f(4) == 14`, and so on."""

    @property
    def function(self) -> str:
        return self.signature.partition("(")[0]


def read(observation: Chat) -> Question:
    """The question in the messages after `reset`."""
    asked, _, examples = content_text(observation[-1]).rpartition("\n\n")
    signature, _, spec = asked.removeprefix("Write ").partition(". ")
    return Question(signature, spec, tuple(examples.splitlines()))


def solution(question: Question) -> str:
    """The reference's source, found by matching the specification."""
    for family in FAMILIES.values():
        match = family.pattern.fullmatch(question.spec)
        if match and family.signature == question.signature:
            return family.source(tuple(match[slot] for slot in family.slots))
    raise ValueError(f"no family asks {question.spec!r}")


def in_block(code: str) -> str:
    """Code as a reply: a single line as it is, several lines in a block."""
    return f"```python\n{code}\n```" if "\n" in code else code


# Programs that try to win without solving the task. Each function turns a question into a program.


def examples(question: Question) -> str:
    """Knows the examples by heart."""
    name = question.function
    known = [line.partition(" == ") for line in question.examples]
    facts = ", ".join(f"key{call.removeprefix(name)}: {answer}" for call, _, answer in known)
    return (
        f"def key(*inputs): return repr(inputs)\nKNOWN = {{{facts}}}\n"
        f"def {name}(*inputs): return KNOWN.get(key(*inputs), {known[0][2]})"
    )


def nothing(question: Question) -> str:
    """A function without a body."""
    return f"def {question.function}(*inputs): pass"


def frames(question: Question) -> str:
    """Searches its callers and the whole heap for anything that looks like the answers."""
    return f"""
import gc, sys
WORDS = ("expected", "answer", "answers", "solution", "hidden", "reference")
def find():
    frame, found = sys._getframe(), []
    while frame:
        found += [v for k, v in [*frame.f_globals.items(), *frame.f_locals.items()] if k in WORDS]
        frame = frame.f_back
    for thing in gc.get_objects():
        if type(thing) is dict:
            found += [thing[word] for word in WORDS if word in thing]
    return found
FOUND = find()
def {question.function}(*inputs):
    return FOUND[0] if FOUND else None
"""


def equal(question: Question) -> str:
    """Returns an object that claims to equal everything."""
    return f"""
class Equal(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def {question.function}(*inputs): return Equal()
"""


def leaves(question: Question) -> str:
    """Exits the program as if all were well."""
    return f"import sys\ndef {question.function}(*inputs): sys.exit(0)"


def leaves_at_once(question: Question) -> str:
    """Ends the process at once, skipping all exit handlers."""
    return f"import os\ndef {question.function}(*inputs): os._exit(0)\nos._exit(0)"


def forges(question: Question) -> str:
    """Writes reports of success to every open file."""
    return f"""
import json, os
REPORT = json.dumps({{"verdict": "ok", "values": [{{"value": True}}] * 99, "passed": True, "reward": 1.0}})
def {question.function}(*inputs):
    print(REPORT)
    for number in range(1, 64):
        try: os.write(number, REPORT.encode() + b"\\n")
        except OSError: pass
    return json.loads(REPORT)
"""


def patches(question: Question) -> str:
    """Replaces the functions that a careless judge in the same process would compare and report with."""
    return f"""
import builtins, json, operator
def always(*inputs, **named): return True
for name in ("all", "any", "isinstance", "len", "sum", "repr", "sorted"):
    setattr(builtins, name, always)
operator.eq = always
json.dumps = lambda *inputs, **named: "true"
json.JSONEncoder.encode = json.JSONEncoder.iterencode = lambda *inputs, **named: "true"
def {question.function}(*inputs): return inputs
"""


def loop(question: Question) -> str:
    """Never ends."""
    return f"def {question.function}(*inputs):\n    while True: pass"


def fork_bomb(question: Question) -> str:
    """Starts as many processes as it can."""
    return f"""
import os
def {question.function}(*inputs):
    while True:
        try: os.fork()
        except OSError: pass
"""


def output_flood(question: Question) -> str:
    """Prints endlessly."""
    return f"def {question.function}(*inputs):\n    while True: print('x' * 10_000)"


Writer = Callable[[Question], str]

CHEATERS: Mapping[str, Writer] = {
    "examples": examples,
    "nothing": nothing,
    "frames": frames,
    "equal": equal,
    "exit": leaves,
    "exit-at-once": leaves_at_once,
    "forged": forges,
    "patches": patches,
}
"""Programs that try to win without solving the task."""

HOSTILE: Mapping[str, Writer] = {
    **CHEATERS,
    "loop": loop,
    "fork-bomb": fork_bomb,
    "output-flood": output_flood,
}
"""The cheats, and programs that try to stall everything."""


class RandomFormula(ScriptedAgent):
    """Guesses a formula in the first argument."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)
        self.signature = ""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if observation[0]["role"] == "system":
            self.signature = read(observation).signature
        first = re.split(r"[(),]", self.signature)[1]
        a, b = self.rng.integers(1, 10, size=2)
        return f"def {self.signature}: return {first}*{a}+{b}"


class Programmer(ScriptedAgent):
    """Answers every time with the program of a `writer`."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0, *, writer: Writer = solution) -> None:
        super().__init__(env, seed)
        self.writer = writer
        self.reply = ""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if observation[0]["role"] == "system":
            self.reply = in_block(self.writer(read(observation)).strip())
        return self.reply


def _cheater(name: str, writer: Writer) -> type[ScriptedAgent]:
    def initialise(self: Programmer, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        Programmer.__init__(self, env, seed, writer=writer)

    return type(name, (Programmer,), {"__doc__": f"Cheats: {writer.__doc__}", "__init__": initialise})


SCRIPTED: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": RandomFormula,
    "oracle": Programmer,
    **{f"cheater-{name}": _cheater(name, writer) for name, writer in CHEATERS.items()},
}
