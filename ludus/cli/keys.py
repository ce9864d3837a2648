"""The configuration's keys as `ludus train --help` lists them."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ludus.trainers.config.reading import table_of
from ludus.trainers.config.run import RunConfig


def print_keys() -> None:
    """Print every key of the configuration with its kind, meaning and default, section by section."""
    console = Console()
    for section, about in RunConfig.model_fields.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for key, entry in _keys(section, about):
            table.add_row(f"--{key} {_kind(entry.annotation)}", Text(_meaning(entry)))
        title = f"configuration: {section}"
        console.print(Panel(table, title=title, title_align="left", box=box.ROUNDED, border_style="dim"))


def _keys(name: str, entry: FieldInfo) -> Iterator[tuple[str, FieldInfo]]:
    """The dotted keys below a section, those of nested sections included; `0` stands for the first of several
    tables."""
    if (table := table_of(entry.annotation)) is not None:
        several = get_origin(entry.annotation) is list
        for key, inner in table.model_fields.items():
            yield from _keys(f"{name}.0.{key}" if several else f"{name}.{key}", inner)
    else:
        yield name, entry


def _kind(annotation: Any) -> str:
    """`INT`, `FLOAT`, `grpo|dapo`: the form of a key's values."""
    if choices := [choice for choice in get_args(annotation) if isinstance(choice, str)]:
        return "|".join(choices)
    names = {str: "STR", int: "INT", float: "FLOAT", bool: "true|false"}
    return names.get(annotation, "TABLE")


def _meaning(entry: FieldInfo) -> str:
    meaning = " ".join((entry.description or "").replace("`", "").split())
    if entry.is_required():
        return f"{meaning} (required)"
    return f"{meaning} (default: {json.dumps(entry.get_default(call_default_factory=True))})"
