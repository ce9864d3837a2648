"""`ludus losses RUN`: a stored step's losses, computed again and compared."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ludus.cli.runs import run_directory

if TYPE_CHECKING:
    from ludus.agents.formats.base import ChatFormat
    from ludus.trainers.replay.compare import Figure
    from ludus.trainers.replay.replay import Replay


@dataclass(frozen=True)
class Losses:
    """Compute every loss, advantage and weight of a stored step again, from its episode file alone, and
    compare them with what the run logged; other algorithms' beside it, on the same tokens.

    The exit code is 1 if they are not equal to rounding.
    """

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
    """The run: its folder, or its name under runs/."""
    step: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Which GRPO step, counted from 1. Default: the last one whose episodes are stored."""
    loss: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME …", help_behavior_hint="")] = ()
    """Other algorithms, each a policy loss, other keys of [grpo], or both: dapo, gspo,clip_low=3e-4,
    advantage=rloo, credit=anchor,gamma=0.95. All else is as in the run."""
    tokens: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Print a line for each sampled token, separated by tabs, in place of the tables."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Write these lines to a file: .parquet, .csv or .jsonl."""

    def execute(self) -> int:
        directory = run_directory(self.run)
        from ludus.trainers.replay.replay import replay
        from ludus.trainers.replay.tokens import refuse_unknown, token_lines, write_tokens

        if self.out is not None:
            refuse_unknown(self.out)
        found = replay(directory, self.step, self.loss)
        format = _format(directory, found)
        figures = found.figures()
        if self.out is not None:
            write_tokens(token_lines(found, format), self.out)
        if self.tokens:
            _print_tokens(found, format)
        else:
            _show(found, figures, directory)
        wrong = [figure.name for figure in figures if not figure.is_equal]
        verdict = f"not equal to the log: {', '.join(wrong)}" if wrong else "equal to the log, to rounding"
        print(verdict, file=sys.stderr if self.tokens else sys.stdout)
        if self.out is not None and not self.tokens:
            print(f"tokens: {self.out}")
        return 1 if wrong else 0


def _format(directory: Path, found: "Replay") -> "ChatFormat | None":
    """What reads the file's ids; None if the run's models are gone.

    Raises:
        RunError: the file's ids are of another tokenizer.
    """
    from ludus.agents.models import load_format, load_tokenizer, tokenizer_key
    from ludus.trainers.errors import RunError
    from ludus.trainers.run.directory import primed_folder

    folder = primed_folder(directory)
    if not folder.exists():
        print(f"{folder} is gone, so tokens have no text", file=sys.stderr)
        return None
    tokenizer = load_tokenizer(folder)
    if tokenizer_key(tokenizer) != found.step.tokenizer:
        raise RunError(
            f"{found.step.file} was written with another tokenizer or chat template than {folder} has: it is "
            "of another run, or one of the two was replaced; put the run's own back"
        )
    return load_format(folder)


def _print_tokens(found: "Replay", format: "ChatFormat | None") -> None:
    from ludus.trainers.replay.tokens import token_lines

    for number, table in enumerate(token_lines(found, format)):
        if not number:
            print("\t".join(table.column_names))
        for row in table.to_pylist():
            print("\t".join(map(_cell, row.values())))


def _cell(value: float | str | None) -> str:
    match value:
        case None:
            return ""
        case str():
            return json.dumps(value, ensure_ascii=False)
        case float():
            return f"{value:.7g}"
    return str(value)


def _show(found: "Replay", figures: "list[Figure]", directory: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ludus.cli.tables import print_whole
    from ludus.trainers.replay.compare import beside

    tokens = len(found.stored.engine_F)
    trained = int((~found.own.weights_F.isnan()).sum())
    Console().print(
        Text(
            f"GRPO step {found.step.number} of {directory}: {len(found.stored.rows):,} episodes, {tokens:,} "
            f"sampled tokens, {trained:,} in the loss"
        ),
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for name in ("logged", "recomputed", "difference", "allowed"):
        table.add_column(name, justify="right", no_wrap=True)
    for figure in figures:
        table.add_row(
            figure.name,
            _number(figure.logged),
            _number(figure.recomputed),
            f"{figure.difference:.1e}",
            f"{figure.allowed:.1e}",
            style=None if figure.is_equal else "red",
        )
    print_whole(table)
    if not found.others:
        return
    own, *others = (beside(each, found.own) for each in (found.own, *found.others.values()))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for name in ("the run's", *found.others):
        table.add_column(name, justify="right")
    for title, field in (
        ("loss", "loss"),
        ("mean |advantage|", "advantage"),
        ("clipped below", "clip_low"),
        ("clipped above", "clip_high"),
        ("clipped by dual_clip", "clip_dual"),
        ("tokens with a gradient", "with_gradient"),
        ("correlation of gradients", "correlation"),
    ):
        table.add_row(title, *(_number(getattr(each, field)) for each in (own, *others)))
    print_whole(table)


def _number(value: float) -> str:
    return f"{value:.7g}" if value == value else "–"
