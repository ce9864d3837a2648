"""Templates: texts with places such as `{{item.question}}` and `{{sample.output_text}}` in them."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator

from ludus.tools.section import Section

_PLACE = re.compile(r"\{\{(?!\{)(.*?)\}\}", re.DOTALL)
"""Of more than two braces the inner ones: LaTeX's own stand around them in `\\boxed{{{item.answer}}}`."""
_PATH = re.compile(r"(?:item|sample)(?:\.[\w-]+|\[[0-9]{1,6}\])+")
_STEP = re.compile(r"\.([\w-]+)|\[([0-9]+)\]")
_OF_SAMPLES = ("output_text", "output_tools")


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer, as graders see it."""

    output_text: str
    output_tools: tuple[Mapping[str, Any], ...] = ()
    """Its tool calls: `{"name": …, "arguments": {…}}`."""

    @property
    def data(self) -> dict[str, Any]:
        """What `{{sample.…}}` refers to, as JSON data."""
        return {"output_text": self.output_text, "output_tools": list(self.output_tools)}


class MissingColumn(LookupError):
    """An item has nothing at a place; the message is the place."""


@dataclass(frozen=True, slots=True)
class Place:
    """One `{{…}}`."""

    path: str
    of_item: bool
    steps: tuple[str | int, ...]

    def value(self, item: Mapping[str, Any], sample: Sample | None) -> Any:
        """
        Raises:
            MissingColumn: the item has no such value, or null. (Where a sample has none, the text is empty.)
        """
        found: Any = item if self.of_item else sample.data if sample else {}
        for step in self.steps:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                found = None
        if found is None and self.of_item:
            raise MissingColumn(self.path)
        return "" if found is None else found


def _checked(text: str) -> str:
    _parts(text)
    return text


TEMPLATE = "template"
TemplateText = Annotated[str, AfterValidator(_checked), TEMPLATE]
"""A field that is a template; it is checked when the recipe is read."""


def places(texts: Iterable[str]) -> tuple[Place, ...]:
    """The places in some templates, each once."""
    return tuple(dict.fromkeys(part for text in texts for part in _parts(text) if isinstance(part, Place)))


def templates_of(section: Section) -> list[str]:
    """The templates in the fields of a section itself."""
    return [
        text
        for name, field in type(section).model_fields.items()
        if TEMPLATE in field.metadata and isinstance(text := getattr(section, name), str)
    ]


def fill(
    text: str,
    item: Mapping[str, Any],
    sample: Sample | None = None,
    escape: Callable[[str], str] = str,
) -> str:
    """A template with its places filled in: a text as it is, a list of texts as lines, anything else as JSON.

    Args:
        escape: What is done to each value.

    Raises:
        MissingColumn: the item lacks one.
    """
    parts = _parts(text)
    return "".join(p if isinstance(p, str) else escape(written(p.value(item, sample))) for p in parts)


def value(text: str, item: Mapping[str, Any], sample: Sample | None = None) -> Any:
    """The value that a template of a single place stands for, as data; of any other template, its text.

    Raises:
        MissingColumn: the item lacks it.
    """
    match _parts(text):
        case (Place() as place,):
            return place.value(item, sample)
    return fill(text, item, sample)


def written(value: Any) -> str:
    """A value as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False)


@cache
def _parts(text: str) -> tuple[str | Place, ...]:
    """
    Raises:
        ValueError: a place is not written as one.
    """
    parts: list[str | Place] = []
    for number, part in enumerate(_PLACE.split(text)):
        if number % 2 == 0:
            if part:
                parts.append(part)
            continue
        path = part.strip()
        steps = tuple(name or int(index) for name, index in _STEP.findall(path))
        if not _PATH.fullmatch(path):
            raise ValueError(
                f"{{{{{path}}}}} is no place: write {{{{item.COLUMN}}}}, {{{{sample.output_text}}}} or "
                "{{sample.output_tools}}"
            )
        of_item = path.startswith("item")
        if not of_item and steps[0] not in _OF_SAMPLES:
            raise ValueError(f"{{{{{path}}}}}: a sample has {' and '.join(_OF_SAMPLES)} only")
        parts.append(Place(path, of_item, steps))
    return tuple(parts)
