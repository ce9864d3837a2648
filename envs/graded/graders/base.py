"""`Grader`: the base class of all kinds, and `Grade`: what one says of an answer."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar

from pydantic import field_validator

from ludus.envs.graded.templates import Sample, TemplateText, fill, templates_of
from ludus.tools.section import Section

PATTERN_S = 1.0
"""Seconds that a pattern may search one text."""


@dataclass(frozen=True, slots=True)
class Grade:
    """What a grader says of an answer."""

    score: float
    """From 0 to 1."""
    said: str
    """Why, for people."""
    parts: Mapping[str, "Grade"] = field(default_factory=dict)
    """Of a grader that is made of others: theirs, by name."""


class Grader(Section):
    """One kind of grader; its fields are the keys of its table. Several threads may call `grade`."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Modules outside the core that it imports."""
    is_slow: ClassVar[bool] = False
    """Whether it waits for a sandbox, a process or a server."""

    @abstractmethod
    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        """
        Raises:
            EnvironmentFault: the sandbox or the server broke; that is never a score.
        """

    @property
    def inner(self) -> Sequence["Grader"]:
        """The graders that it is made of."""
        return ()

    def all(self) -> Iterator["Grader"]:
        """It and everything that it is made of."""
        yield self
        for grader in self.inner:
            yield from grader.all()

    @property
    def templates(self) -> list[str]:
        return templates_of(self)

    def prepare(self) -> None:
        """Import what it needs.

        Raises:
            ModuleNotFoundError: that is not installed.
        """
        for module in self.needs:
            import_module(module)

    def answer(self, item: Mapping[str, Any]) -> Sample | None:
        """A right answer, where the grader itself can tell."""
        return None


class TextGrader(Grader):
    """A grader of a text, or of what is extracted from it."""

    input: TemplateText = "{{sample.output_text}}"
    """What is graded."""
    extract: str = ""
    """A regular expression for the answer in `input`: its first group, or all of it. If it is found several
    times with different contents, or never, there is no answer. It is applied to the reference too, where it
    is found there. Empty: `input` is the answer."""

    @field_validator("extract")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return compiles(pattern) if pattern else ""

    def extracted(self, item: Mapping[str, Any], sample: Sample) -> str | Grade:
        """The answer; or the grade of an input in which there is not exactly one."""
        text = fill(self.input, item, sample)
        if self._pattern is None:
            return text.strip()
        found = self._found(text)
        if len(found) == 1:
            return found.pop()
        return Grade(0.0, f"{len(found) or 'no'} answer{'s that differ' if found else ''} in {shown(text)}")

    def of_reference(self, text: str) -> str:
        """What of a reference is compared."""
        found = self._found(text) if self._pattern is not None else set()
        return found.pop() if len(found) == 1 else text.strip()

    @cached_property
    def _pattern(self) -> Any:
        return import_module("regex").compile(self.extract) if self.extract else None

    def _found(self, text: str) -> set[str]:
        """The different contents; none, too, where that takes too long."""
        group = min(1, self._pattern.groups)
        try:
            matches = [match[group] for match in self._pattern.finditer(text, timeout=PATTERN_S)]
        except TimeoutError:
            return set()
        return {content.strip() for content in matches if content is not None}


def compiles(pattern: str) -> str:
    """The pattern itself.

    Raises:
        ValueError: it is no regular expression.
    """
    regex = import_module("regex")
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


def shown(text: str, most: int = 80) -> str:
    """A text on one line, cut off."""
    line = " ".join(text.split())
    return repr(line if len(line) <= most else f"{line[: most - 1]}…")
