"""`Recipe`: how items are asked and graded, as a TOML file says it."""

import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ludus.envs.arguments import unknown
from ludus.envs.errors import ArgumentError
from ludus.envs.graded.calls import calls_of
from ludus.envs.graded.graders.base import Grade
from ludus.envs.graded.graders.kinds import KINDS, AnyGrader
from ludus.envs.graded.graders.tool_calls import ToolCalls
from ludus.envs.graded.templates import Place, Sample, TemplateText, fill, places, templates_of
from ludus.tools.section import Section
from ludus.tools.wording import did_you_mean

PRESETS = Path(__file__).parent / "presets"
EXAMPLE = "example"
MOST_CHARACTERS = 100_000
"""Longer answers are not graded."""

Rows = str | list[dict[str, Any]]


class Recipe(Section):
    """A set of items, how each is asked, and how an answer is graded."""

    items: Rows
    """JSON Lines, Parquet, a folder that `datasets` saved, a dataset on the hub (`OWNER/NAME:CONFIG:SPLIT`);
    or the items themselves, as a list of tables. A path is looked up beside the recipe first."""
    answers: str = ""
    """A second file, whose columns are added to the items with the same `id`."""
    held_out: Rows = ""
    """The held-out items, in the same form. Empty: `held_out_share` of `items`."""
    held_out_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The share of `items` that is held out, chosen by content, where `held_out` is empty."""
    system: TemplateText = ""
    """The system message; empty: none."""
    prompt: TemplateText
    """What is asked."""
    reference: TemplateText = ""
    """A right answer, as a perfect reply would give it. Not needed where the grader is `tool_calls`."""
    attempts: Annotated[int, Field(ge=1, le=50)] = 1
    """Answers that may be given: after a wrong one, `feedback` follows and the next."""
    feedback: TemplateText = "That is not right. Try again."
    """What is said after a wrong answer that is not the last."""
    tools: list[Literal["python"]] = []  # noqa: RUF012 (pydantic copies it)
    """Tools at hand before the answer: `python` runs a program in the sandbox and shows what it prints."""
    tool_turns: Annotated[int, Field(ge=1, le=50)] = 8
    """Replies with tool calls that there is room for, beside the answers."""
    pass_score: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The score from which on an answer is right."""
    grader: AnyGrader
    """What gives an answer its score."""

    @field_validator("items")
    @classmethod
    def _named(cls, items: Rows) -> Rows:
        if not items:
            raise ValueError('is empty: name a file of items, items = "questions.jsonl"')
        return items

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if not self.reference and not any(isinstance(grader, ToolCalls) for grader in self.grader.all()):
            raise ValueError(
                "reference is missing: without a right answer nobody knows whether the grader accepts one; "
                'give for example reference = "{{item.answer}}"'
            )
        if self.reads_calls and self.tools:
            raise ValueError("tools cannot be at hand where the answer itself is tool calls; leave tools out")
        return self

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """All places in its templates and its graders'."""
        templates = [text for grader in self.grader.all() for text in grader.templates]
        return places([*templates_of(self), *templates])

    @cached_property
    def reads_calls(self) -> bool:
        """Whether an answer is made of tool calls."""
        if any(isinstance(grader, ToolCalls) for grader in self.grader.all()):
            return True
        return any(not place.of_item and place.steps[0] == "output_tools" for place in self.places)

    def sample(self, text: str, tool_calls: Any = ()) -> Sample:
        """A reply as graders see it."""
        return Sample(text, calls_of(text, tool_calls) if self.reads_calls else ())

    def right(self, item: Mapping[str, Any]) -> Sample:
        """A right answer.

        Raises:
            MissingColumn: the item lacks what it is made of.
        """
        if self.reference:
            return self.sample(fill(self.reference, item))
        answer = self.grader.answer(item)
        assert answer is not None  # `_consistent` has seen to that
        return answer

    def judge(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        """The grade of an answer.

        Raises:
            EnvironmentFault: what grades it broke.
        """
        if len(sample.output_text) > MOST_CHARACTERS:
            return Grade(0.0, f"longer than {MOST_CHARACTERS:,} characters")
        return self.grader.grade(item, sample)

    def passes(self, grade: Grade) -> bool:
        return grade.score >= self.pass_score

    @property
    def is_slow(self) -> bool:
        return any(grader.is_slow for grader in self.grader.all())


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_recipe(source: str | Path | Mapping[str, Any], items: Rows | None = None) -> Recipe:
    """The recipe in a TOML file, of a preset's name, or of a table; `preset = "NAME"` in it begins from a
    preset, whose keys the others replace.

    Args:
        source: The file, the name or the table.
        items: In place of the recipe's own.

    Raises:
        ArgumentError: there is no such file, or something in it is wrong; one line that names the key.
        ModuleNotFoundError: a package that a grader needs is not installed.
    """
    table, where, folder = _table(source)
    if isinstance(preset := table.pop("preset", None), str):
        table = {**_table(_preset(preset))[0], **table}
    elif preset is not None:
        raise ArgumentError(f"{where}: preset = {preset!r}: choose from {', '.join(preset_names())}")
    for key in ("items", "answers", "held_out"):
        given = table.get(key)
        if isinstance(given, str) and folder is not None and (folder / given).exists():
            table[key] = str(folder / given)
    if items is not None:
        table["items"] = str(items) if isinstance(items, Path) else items
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        raise ArgumentError(f"{where}: {_complaint(error)}") from None
    for grader in recipe.grader.all():
        grader.prepare()
    return recipe


def _table(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str, Path | None]:
    """The keys, what to call their source, and the folder that paths in it are relative to."""
    if isinstance(source, Mapping):
        return dict(source), "recipe", None
    if not isinstance(source, str | Path):
        raise ArgumentError(f"recipe={source!r:.80}: give a TOML file, a preset's name or a table")
    path = _preset(source) if str(source) in preset_names() else Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not UTF-8; a name with a null character
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ArgumentError(
            f"recipe={str(source)!r:.80} cannot be read ({reason}): give a TOML file, or one of the presets "
            f"{', '.join(preset_names())}"
        ) from None
    try:
        return tomllib.loads(text), str(source), None if path.parent == PRESETS else path.parent
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"{source} is no TOML: {error}") from None


def _preset(name: str | Path) -> Path:
    if str(name) not in preset_names():
        raise ArgumentError(unknown("preset", str(name), preset_names()))
    return PRESETS / f"{name}.toml"


def _complaint(error: ValidationError) -> str:
    """The first problem, on one line; a key of a grader stands behind its kind, `grader.number.reference`."""
    problem = error.errors(include_url=False)[0]
    place, context = ".".join(map(str, problem["loc"])), problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            said = "is missing"
        case "extra_forbidden":
            keys = KINDS[str(problem["loc"][-2])].model_fields if problem["loc"][1:] else Recipe.model_fields
            hint = did_you_mean(problem["loc"][-1], keys, otherwise=f"there are {', '.join(keys)}")
            said = f"is no key here; {hint}"
        case "union_tag_invalid":
            said = unknown("type", context["tag"], KINDS)
        case "union_tag_not_found":
            said = f"needs a type, one of {', '.join(KINDS)}"
        case _:
            said = problem["msg"].removeprefix("Value error, ")
    return " ".join(f"{place}: {said}".removeprefix(": ").split())
