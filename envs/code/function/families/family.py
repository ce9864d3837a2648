"""`Family`: programming tasks of one kind, written as templates whose slots a seed fills in."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from string import Template
from typing import Any

Slot = range | Mapping[str, str]
"""The possible values of a template's slot: numbers, or phrases, each with its code."""

Values = Mapping[str, Any]
"""The values of the slots: numbers as `int`, phrases as their code."""

Arguments = tuple[Any, ...]
"""A function's arguments: JSON data."""

PUBLIC, HIDDEN = 3, 8
"""The number of examples a task shows, and of random inputs it hides besides the family's edge cases."""
DRAWN = 18
"""The number of inputs drawn for both: families with few inputs repeat some."""
HARDEST = 3


@dataclass(frozen=True)
class Timed:
    """A large input that only an efficient solution finishes in time."""

    arguments: Callable[[Random, Values], Arguments]
    """Draws the input."""
    slow: str
    """Source of a solution, with the family's slots, that is right but too slow."""
    cpu_s: float = 0.15
    """Seconds of processor time for the call, with a wide margin to both the fast and the slow solution."""


@dataclass(frozen=True)
class Family:
    """Tasks of one kind. `spec` and `solution` are `string.Template`s over `slots`: a phrase goes into the
    specification, its code into the solution, and a number into both."""

    name: str
    topic: str
    signature: str
    """As the specification shows it: `keep(words)`."""
    spec: str
    solution: str
    """Source of the reference. Where it returns a float, a result within 1e-9 of it (relative or absolute) is
    right; everything else must be equal and of the same type."""
    case: Callable[[Random, Values], Arguments]
    """Draws an input."""
    slots: Mapping[str, Slot] = field(default_factory=dict)
    """In order of difficulty: phrases from plain to odd, numbers from small to large."""
    edges: Callable[[Values], list[Arguments]] = lambda values: []
    """Inputs that break a careless solution."""
    timed: Timed | None = None

    def __reduce__(self) -> Any:
        # It holds lambdas, so copies and pickles look the family up by name.
        return _named, (self.name,)

    @property
    def function(self) -> str:
        """The function's name."""
        return self.signature.partition("(")[0]

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the family's specifications, with a group for each slot."""
        seen: set[str] = set()

        def group(slot: str) -> str:
            if slot in seen:
                return f"(?P={slot})"
            seen.add(slot)
            alternatives = sorted(map(str, self.slots[slot]), key=len, reverse=True)
            return f"(?P<{slot}>{'|'.join(map(re.escape, alternatives))})"

        # Template.pattern splits a template into text and slot names.
        parts = re.split(r"\$\{?([a-z_]+)\}?", self.spec)
        return re.compile("".join(group(p) if i % 2 else re.escape(p) for i, p in enumerate(parts)))

    def draw(self, rng: Random, difficulty: int) -> tuple[str, ...]:
        """Draw each slot's value from the first `difficulty` thirds of its options."""
        chosen = []
        for slot in self.slots.values():
            options = [str(option) for option in slot]
            chosen.append(rng.choice(options[: -(-len(options) * difficulty // HARDEST)]))
        return tuple(chosen)

    def codes(self, choices: tuple[str, ...]) -> dict[str, str]:
        """The code of each slot, which may itself refer to slots."""
        codes = {
            name: choice if isinstance(slot, range) else slot[choice]
            for (name, slot), choice in zip(self.slots.items(), choices, strict=True)
        }
        return {name: Template(code).substitute(codes) for name, code in codes.items()}

    def values(self, choices: tuple[str, ...]) -> Values:
        codes = self.codes(choices)
        return {
            name: int(code) if isinstance(self.slots[name], range) else code for name, code in codes.items()
        }

    def specification(self, choices: tuple[str, ...]) -> str:
        return _filled(self.spec, dict(zip(self.slots, choices, strict=True)))

    def source(self, choices: tuple[str, ...]) -> str:
        """The reference's source text."""
        return _filled(self.solution, self.codes(choices))

    def slow_source(self, choices: tuple[str, ...]) -> str:
        """The source text of the solution that is too slow.

        Raises:
            ValueError: the family has no time limit.
        """
        if self.timed is None:
            raise ValueError(f"the family {self.name} has no time limit")
        return _filled(self.timed.slow, self.codes(choices))


@dataclass(frozen=True)
class Cases:
    """Inputs and their answers."""

    inputs: tuple[Arguments, ...]
    answers: tuple[Any, ...]


@dataclass(frozen=True)
class Task:
    """A task; everything else about it follows from these fields."""

    family: Family
    choices: tuple[str, ...]
    """The values of the family's slots."""
    seed: int
    """The seed of the inputs."""

    def __hash__(self) -> int:
        return hash((self.family.name, self.choices, self.seed))

    @property
    def key(self) -> str:
        """The content key: what is asked for, independent of wording and examples."""
        content = blake2b(self.family.source(self.choices).encode(), digest_size=6).hexdigest()
        return f"{self.family.name}:{content}"

    @property
    def public(self) -> Cases:
        """The cases that are shown."""
        return _cases(self)[0]

    @property
    def hidden(self) -> Cases:
        """The cases that are not shown: edge cases and random ones."""
        return _cases(self)[1]

    @property
    def timed(self) -> Cases | None:
        """The large input of a family with a time limit."""
        return _timed_case(self) if self.family.timed else None

    @property
    def question(self) -> str:
        """The question: the signature, the specification and the examples."""
        spec = self.family.specification(self.choices)
        shown = zip(self.public.inputs, self.public.answers, strict=True)
        examples = "\n".join(f"{call(self.family, inputs)} == {answer!r}" for inputs, answer in shown)
        return f"Write {self.family.signature}. {spec}\n\n{examples}"


def draw(family: Family, rng: Random, difficulty: int = HARDEST) -> Task:
    """A task from a family, redrawn while a single answer would fit all hidden cases."""
    while True:
        task = Task(family, family.draw(rng, difficulty), rng.getrandbits(62))
        if len(set(map(json.dumps, task.hidden.answers))) > 1:
            return task


def call(family: Family, inputs: Arguments) -> str:
    """A call as written in a program: `keep(['a', 'bcd'])`."""
    return f"{family.function}({', '.join(map(repr, inputs))})"


def run_trusted(source: str, function: str, inputs: tuple[Arguments, ...]) -> tuple[Any, ...]:
    """The results of our own function, called in this process. Never use it for anyone else's program."""
    solve = _defined(source, function)
    return tuple(solve(*json.loads(json.dumps(arguments))) for arguments in inputs)


def _filled(template: str, values: Mapping[str, str]) -> str:
    return Template(template).substitute(values).strip("\n")


def _named(name: str) -> Family:
    from ludus.envs.code.function.families import FAMILIES

    return FAMILIES[name]


@functools.lru_cache(maxsize=1024)
def _defined(source: str, function: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(compile(source, "<reference>", "exec"), namespace)
    found: Callable[..., Any] = namespace[function]
    return found


@functools.lru_cache(maxsize=1024)
def _cases(task: Task) -> tuple[Cases, Cases]:
    family, rng = task.family, Random(task.seed)
    values = family.values(task.choices)
    edges = _by_text(family.edges(values))
    drawn = _by_text(family.case(rng, values) for _ in range(DRAWN))
    inputs = {**edges, **drawn}
    results = run_trusted(family.source(task.choices), family.function, tuple(inputs.values()))
    answers = dict(zip(inputs, results, strict=True))
    # Examples with different answers are more informative.
    first = {json.dumps(answers[text]): text for text in reversed(drawn)}
    public = sorted(drawn, key=lambda text: first[json.dumps(answers[text])] != text)[:PUBLIC]
    others = [text for text in drawn if text not in public and text not in edges]
    hidden = [*(text for text in edges if text not in public), *others[:HIDDEN]]
    return tuple(  # type: ignore[return-value]
        Cases(tuple(inputs[text] for text in texts), tuple(answers[text] for text in texts))
        for texts in (public, hidden)
    )


@functools.lru_cache(maxsize=16)
def _timed_case(task: Task) -> Cases:
    assert task.family.timed is not None
    arguments = task.family.timed.arguments(Random(task.seed + 1), task.family.values(task.choices))
    inputs = (arguments,)
    return Cases(inputs, run_trusted(task.family.source(task.choices), task.family.function, inputs))


def _by_text(inputs: Iterable[Arguments]) -> dict[str, Arguments]:
    """Distinct inputs, by their JSON."""
    return {json.dumps(arguments): arguments for arguments in inputs}
