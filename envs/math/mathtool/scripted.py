"""The scripted agents of `ludus/MathTool-v0`. They see only the messages, as a language model does."""

import json
import re
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, Message, Reply, content_text
from ludus.envs.math.answers import Tags, tags_in
from ludus.envs.math.mathtool.topics import parse
from ludus.envs.scripted import ScriptedAgent, Silent


def call_python(*programs: str) -> Message:
    """A reply that runs programs."""
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": "python", "arguments": json.dumps({"code": program})},
        }
        for number, program in enumerate(programs)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


class _Reader(ScriptedAgent):
    """Base class: keeps the tags and the question."""

    def begin(self) -> None:
        self.tags = Tags("think", "answer")
        self.question = ""

    def act(self, observation: Chat, info: dict[str, Any]) -> Reply:
        said = [content_text(message) for message in observation]
        if not self.question:
            self.tags = tags_in(observation)
            self.question = said[1].rpartition("\n")[0]
            return self.first()
        return self.then(said)

    def first(self) -> Reply:
        """The reply to the question."""
        return self.then([])

    def then(self, said: list[str]) -> Reply:
        """The reply to any later message."""
        raise NotImplementedError


class RandomNumber(_Reader):
    """Runs one or two programs that draw a number, then answers with a guess of its own."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def then(self, said: list[str]) -> Reply:
        bound = int(self.rng.integers(2, 1_000))
        if self.rng.integers(2):
            return call_python(f"import random\nprint(random.randrange({bound}))")
        return self.tags.write("a guess", str(self.rng.integers(bound)))


class Oracle(_Reader):
    """Reads the question, runs the program that solves it, and answers with its output."""

    def first(self) -> Reply:
        kind, fields = parse(self.question)
        given = "\n".join(f"{name} = {value!r}" for name, value in fields.items())
        return call_python(f"from sympy import *\nx = Symbol('x')\n{given}\n{kind.program}")

    def then(self, said: list[str]) -> Reply:
        return self.tags.write(f"The program printed {said[-1]}.", said[-1])


class ManyAnswers(_Reader):
    """Cheats: answers with every number up to 100, each in its own answer tags."""

    def then(self, said: list[str]) -> Reply:
        tags = self.tags
        every = "".join(f"{tags.open_answer}{number}{tags.close_answer}" for number in range(101))
        return f"{tags.open_think}one of these{tags.close_think}{every}"


class Echo(_Reader):
    """Cheats: answers with the question itself, or with a formula made of its numbers."""

    def then(self, said: list[str]) -> Reply:
        numbers = re.findall(r"-?[0-9]+", self.question)
        asked = re.sub(r"^.* of | from .*$|\?$", "", self.question)
        formulas = (self.question, asked, "*".join(numbers), "^".join(numbers), "+".join(numbers))
        return self.tags.write("it is equal to itself", formulas[len(said) % len(formulas)])

    def first(self) -> Reply:
        return self.then([""] * len(self.question))


class Stall(_Reader):
    """Cheats: gives answers that would keep a careless checker busy forever."""

    ANSWERS = (
        "9^9^9^9^9",
        "((1+pi)^4)^4",
        "(" * 9_000,
        "(1+sqrt(2)+sqrt(3)+sqrt(5)+pi+e)^99999",
        "e^(10^100)",
        "sqrt(10^200+1)",
        "1/((1+2^(1/8))^99-(1+2^(1/8))^99)",
        "-" * 9_000 + "1",
        "9" * 9_000,
        "1/0",
        "nan",
    )

    def then(self, said: list[str]) -> Reply:
        return self.tags.write("wait for it", self.ANSWERS[len(self.question) % len(self.ANSWERS)])


class CallLoop(_Reader):
    """Cheats: calls the tool until the episode is cut off, and never answers."""

    def then(self, said: list[str]) -> Reply:
        return call_python(*["print(1)"] * 5)


class Snoop(_Reader):
    """Cheats: searches the program's surroundings for the answer, and gives the longest number it finds."""

    PROGRAM = """import gc, os, sys
found = [repr(dict(os.environ)), repr(sys.argv)]
frame = sys._getframe()
while frame:
    found.append(repr(frame.f_locals) + repr(frame.f_globals))
    frame = frame.f_back
for item in gc.get_objects():
    if isinstance(item, (dict, list, tuple, set)):
        inner = item.values() if isinstance(item, dict) else item
        found += [text for text in inner if isinstance(text, str)]
for folder, _, names in os.walk("."):
    found += [open(os.path.join(folder, name)).read() for name in names]
import re
numbers = re.findall(r"\\b-?[0-9]{2,}(?:/[0-9]+)?\\b", " ".join(found))
print(max(numbers, key=len, default="7"))"""

    def first(self) -> Reply:
        return call_python(self.PROGRAM)

    def then(self, said: list[str]) -> Reply:
        return self.tags.write("it was lying about", said[-1])


AGENTS: dict[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": RandomNumber,
    "oracle": Oracle,
    "cheater-many-answers": ManyAnswers,
    "cheater-echo": Echo,
    "cheater-stall": Stall,
    "cheater-call-loop": CallLoop,
    "cheater-snoop": Snoop,
}
