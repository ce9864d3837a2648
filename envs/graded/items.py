"""Reads items: rows of a file, of a saved dataset or of one on the hub, as plain JSON data."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ludus.tools.errors import DataError
from ludus.tools.tables import Row, is_saved_dataset, read_rows
from ludus.tools.wording import first_line

_OF_FILES = (".jsonl", ".json", ".parquet")
"""A name that ends so is no dataset's on the hub, also where there is no such file."""
_ON_THE_HUB = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?::([\w.-]*))?(?::([\w.\[\]%-]+))?")


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a set."""

    place: str
    """The file, and the line or row in it."""
    values: Mapping[str, Any]


def read_items(source: str | Sequence[Mapping[str, Any]], answers: str = "") -> tuple[Item, ...]:
    """All items of a source, in its order.

    Args:
        source: A file, a folder, a dataset on the hub, or the items themselves.
        answers: A file of more columns, joined by `id`.

    Raises:
        DataError: a source cannot be read, holds nothing, or lacks the `id` by which it is joined.
        ModuleNotFoundError: the package `datasets`, which fetches from the hub, is not installed.
    """
    found = tuple(Item(row.place, _plain(row)) for row in _rows(source))
    if not found:
        raise DataError(f"{source if isinstance(source, str) else 'items'}: there is no item in it")
    if not answers:
        return found
    more: dict[str, dict[str, Any]] = {}
    for row in _rows(answers):
        values = _plain(row)
        if (key := json.dumps(values.get("id"))) in more:
            raise DataError(f"{row.place}: the id {key} stands there twice; give each row an id of its own")
        more[key] = values
    for item in found:
        if (key := json.dumps(item.values.get("id"))) == "null" or key not in more:
            raise DataError(f"{item.place}: {answers} has no row with its id, {key}; both need a column id")
    return tuple(Item(item.place, {**more[json.dumps(item.values["id"])], **item.values}) for item in found)


def stamp(source: str | Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Changes when a source does."""
    if not source or not isinstance(source, str) or not (path := Path(source)).exists():
        return ()
    files = sorted(path.rglob("*")) if path.is_dir() and is_saved_dataset(path) else [path]
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def _rows(source: str | Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    if not isinstance(source, str):
        yield from (Row(f"item {number}", dict(row)) for number, row in enumerate(source, 1))
    elif (path := Path(source)).exists():
        yield from read_rows(path)
    elif path.suffix not in _OF_FILES and (match := _ON_THE_HUB.fullmatch(source)):
        yield from _hub_rows(match[1], match[2] or None, match[3] or "train")
    else:
        raise DataError(
            f"{source}: there is no such file or folder; a dataset on the hub is OWNER/NAME:CONFIG:SPLIT"
        )


def _hub_rows(name: str, config: str | None, split: str) -> Iterator[Row]:
    datasets = import_module("datasets")
    try:
        rows = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # what it raises depends on the network, the hub and the dataset
        raise DataError(
            f"{name}: there is no such file, and the hub gives no dataset of that name "
            f"({type(error).__name__}: {first_line(error)[:200]})"
        ) from None
    for number, row in enumerate(rows, 1):
        yield Row(f"{name}, {split} row {number}", dict(row))


def _plain(row: Row) -> dict[str, Any]:
    """JSON data: dates and the like become texts.

    Raises:
        DataError: a text has half of a surrogate pair, which is no character.
    """
    written = json.dumps(row.values, default=str, ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError as error:
        half = written[error.start]
        raise DataError(
            f"{row.place}: has half of a surrogate pair, {half!r}, which is no character; mend the text"
        ) from None
    plain: dict[str, Any] = json.loads(written)
    return plain
