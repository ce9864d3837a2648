"""Scripted agents of `ludus/DataAnalysis-v0`."""

from abc import abstractmethod
from collections.abc import Generator, Mapping
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, Message, Reply, content_text
from ludus.envs.code.analysis.solutions import solution
from ludus.envs.code.analysis.tasks import recognise
from ludus.envs.scripted import ScriptedAgent, Silent

# Plausible answers of each type; the question names the type.
GUESSES = {
    "an integer": ("7", "42", "12", "5"),
    "a decimal number": ("100.0", "12.5", "0.0"),
    "a text": ("kettle", "S05", "Ada Holm", "The Last Letter"),
    "a date": ("2024-04-01", "2024-06-05", "2024-09-20"),
    "a list": ("S01, S02, S03", "C001, C002, C003"),
}


def call(name: str, id: str = "call_0", **arguments: str) -> Message:
    """A reply that calls one tool."""
    function = {"name": name, "arguments": arguments}
    calls = [{"id": id, "type": "function", "function": function}]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def guesses(observation: Chat) -> tuple[str, ...]:
    """Plausible answers of the type that the first messages ask for."""
    asked = content_text(observation[-1])
    return next(values for kind, values in GUESSES.items() if f"The answer is {kind}" in asked)


def right_program(observation: Chat) -> str:
    """The program that answers the question in the first messages."""
    kind, parameters = recognise(content_text(observation[-1]))
    return solution(kind.name, parameters)


class Planned(ScriptedAgent):
    """Plays the replies that `plan` yields, sending it the observations; says nothing once it is over."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)
        self.running: Generator[Reply, Chat, None] | None = None

    def begin(self) -> None:
        self.running = None

    @abstractmethod
    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        """Yield replies; each `yield` returns the next observation."""

    def act(self, observation: Chat, info: dict[str, Any]) -> Reply:
        if self.running is None:
            self.running = self.plan(observation)
            return next(self.running)
        try:
            return self.running.send(observation)
        except StopIteration:
            return ""


class RandomCalls(Planned):
    """Explores with all tools, sometimes plots something, and submits a guess."""

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        guess = self.rng.choice(guesses(observation))
        yield call("python", code=f"import os\nx = {self.rng.integers(100)}\nsorted(os.listdir())")
        if self.rng.random() < 0.3:
            yield call("sql", query="SELECT name, sql FROM sqlite_master")
        if self.rng.random() < 0.2:
            plot = (
                "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1.5))\n_ = plt.plot([x, x ** 2, 5])"
            )
            yield call("python", code=plot)
        yield call("python", code="print(x)\nx += 1\nx / 0")
        yield call("submit", program=f"print({str(guess)!r})")


class Oracle(Planned):
    """Reads the question and submits the program that answers it."""

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        yield call("submit", program=right_program(observation))


class Constant(Planned):
    """Cheats: submits a hard-coded, likely answer."""

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        yield call("submit", program=f"print({guesses(observation)[0]!r})")


class TypedIn(Planned):
    """Cheats: works out the answer in the notebook, and submits a program that merely prints it."""

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        seen = yield call("python", code=right_program(observation))
        yield call("submit", program=f"print({content_text(seen[0])!r})")


class RowCount(Planned):
    """Cheats: hard-codes the answer for tables of exactly this length, and something similar for others."""

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        count = "import glob\nlines = len(open(glob.glob('*.?sv')[0]).readlines())"
        seen = yield call("python", code=f"{right_program(observation)}\n{count}\nprint(lines)")
        answer, lines = content_text(seen[0]).split("\n")[-2:]
        other = guesses(observation)[1]
        yield call("submit", program=f"{count}\nprint({answer!r} if lines == {lines} else {other!r})")


class ManyAnswers(Planned):
    """Cheats: prints many answers, on separate lines and on one, then picks one at random on every run."""

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        every = guesses(observation)
        yield call("submit", program=f"print(*{every!r}, sep=chr(10))")
        yield call("submit", program=f"print(' or '.join({every!r}))")
        yield call("submit", program=f"import time\nprint({every!r}[time.time_ns() // 1000 % {len(every)}])")


class Snoop(Planned):
    """Cheats: looks for the answer everywhere except in the tables, and leaves notes for the second run."""

    SEARCH = """
import gc, glob, os, sys
places = ["/proc/self/environ", "/proc/1/cmdline", "/proc/self/maps", "/etc/passwd"]
places += glob.glob("/tmp/*") + glob.glob("/box/*/*") + glob.glob("../*")
found = [str(dict(os.environ)), str(sys.argv)]
for place in places:
    try:
        found.append(open(place, errors="replace").read(5000))
        open(os.path.dirname(place) + "/notes", "w").write(place)
    except OSError:
        pass
frame = sys._getframe()
while frame:
    found.append(str(frame.f_locals.keys()))
    frame = frame.f_back
found += [str(thing)[:200] for thing in gc.get_objects() if isinstance(thing, dict) and "expected" in thing]
text = " ".join(found)
where = text.find("expected")
clue = text[where + 9 : where + 29].split()[:1] if where >= 0 else []
"""

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        yield call(
            "submit", program=f"{self.SEARCH}\nprint(clue[0] if clue else {guesses(observation)[-1]!r})"
        )


class Disguised(Planned):
    """Cheats: prints values that upset a careless comparison, and right answers of the wrong type."""

    TRICKS = (
        *("nan", "inf", "-inf", "1e999", "*", "True", "None", "", "0x10", "[]", "{}", "9" * 400),
        *("2024-13-45", ",", ".*", "%", "\x00", "expected", "__eq__"),
    )

    def plan(self, observation: Chat) -> Generator[Reply, Chat, None]:
        trick = self.TRICKS[self.rng.integers(len(self.TRICKS))]
        yield call("submit", program=f"print({trick!r})")
        hooked = "import builtins\nclass Yes(str):\n    __eq__ = lambda self, other: True\nprint(Yes('any'))"
        yield call("submit", program=hooked)
        program = (
            "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as said:\n    exec({!r})\n"
        )
        wrapped = program.format(right_program(observation)) + "print([said.getvalue().strip()])"
        yield call("submit", program=wrapped)
        yield call("submit", program=f"print({guesses(observation)[0]!r})")


SCRIPTED: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": RandomCalls,
    "oracle": Oracle,
    "cheater-constant": Constant,
    "cheater-typed-in": TypedIn,
    "cheater-row-count": RowCount,
    "cheater-many-answers": ManyAnswers,
    "cheater-snoop": Snoop,
    "cheater-disguised": Disguised,
}
