"""`ludus grade FILE`: tries a recipe's items and grader before anything is played."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ludus.cli.tables import figure, print_whole
from ludus.tools.errors import DataError, UserError

if TYPE_CHECKING:
    from ludus.envs.graded.graders.base import Grade as Said
    from ludus.envs.graded.recipe import Recipe


@dataclass(frozen=True)
class Grade:
    """Try a recipe of ludus/Graded-v0: its items, and its grader on answers of your own.

    Every item goes through the gates: its reference must be right by the grader, and an empty answer, the
    question copied back and the answers of other items wrong. Items that fail, that lack a column, and that
    nearly repeat a held-out one are listed: they are left out when the recipe is played. With --answers,
    these are graded instead, and what each part of the grader said is printed. Exits with 1 if no answer is
    right.
    """

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
    """The recipe: a TOML file, or a preset: gsm8k, math, mbpp, humaneval, bfcl."""
    items: Annotated[str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """The file of items, in place of the recipe's."""
    answers: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Answers to grade, as JSON Lines or Parquet: output_text, or output_tools, or both; and item, the
    number of the row that is answered, from 1. Without item, they are in the rows' order."""

    def execute(self) -> int:
        from ludus.envs.graded.recipe import load_recipe

        recipe = load_recipe(self.recipe, self.items)
        return self._gates(recipe) if self.answers is None else self._answers(recipe, self.answers)

    def _gates(self, recipe: "Recipe") -> int:
        from ludus.envs.graded.bank import open_bank

        bank = open_bank(recipe)
        for left in bank.left_out:
            print(f"{left.item.place}: {left.why}")
        print(bank)
        return 0

    def _answers(self, recipe: "Recipe", path: Path) -> int:
        from rich import box
        from rich.table import Table

        from ludus.envs.faults import EnvironmentFault
        from ludus.envs.graded.bank import check_columns
        from ludus.envs.graded.items import read_items
        from ludus.envs.graded.templates import MissingColumn

        items = read_items(recipe.items, recipe.answers)
        check_columns(recipe, items)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("answer", "item", "score", "", "what was said"):
            table.add_column(name, justify="right" if name == "score" else "left")
        scores: list[float] = []
        right = 0
        for number, row in enumerate(read_items(str(path)), 1):
            index = row.values.get("item", number)
            if not isinstance(index, int) or not 1 <= index <= len(items):
                raise DataError(f"{row.place}: item {index!r} is none of the {len(items)} rows; count from 1")
            item = items[index - 1]
            try:
                grade = recipe.judge(item.values, _sample(recipe, row.place, row.values))
            except MissingColumn as missing:
                raise DataError(f"{item.place}: there is no {missing}") from None
            except EnvironmentFault as fault:
                raise UserError(f"{row.place} has no score: {fault}") from fault
            scores.append(grade.score)
            right += recipe.passes(grade)
            mark = "right" if recipe.passes(grade) else "wrong"
            for name, said in _lines("", grade):
                first = not name
                table.add_row(
                    row.place if first else "", item.place if first else "", figure(said.score),
                    mark if first else name, said.said,
                )  # fmt: skip
        print_whole(table)
        print(f"{right} of {len(scores)} right, mean score {figure(sum(scores) / len(scores))}")
        return 0 if right else 1


def _sample(recipe: "Recipe", place: str, row: Mapping[str, Any]) -> Any:
    from ludus.envs.graded.templates import Sample

    text, calls = row.get("output_text", ""), row.get("output_tools")
    if not isinstance(text, str) or ("output_text" not in row and calls is None):
        raise DataError(f"{place}: there is no answer in it; give output_text, or output_tools")
    if calls is None:
        return recipe.sample(text)
    if not isinstance(calls, list):
        raise DataError(f'{place}: output_tools is no list of {{"name": …, "arguments": …}}')
    return Sample(text, recipe.sample("", [{"function": call} for call in calls]).output_tools)


def _lines(name: str, grade: "Said") -> Iterator[tuple[str, "Said"]]:
    yield name, grade
    for part, said in grade.parts.items():
        yield from _lines(f"{name}.{part}".lstrip("."), said)
