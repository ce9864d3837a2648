"""`World`: related tables, and the kinds of questions about them."""

import csv
import io
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ludus.envs.code.analysis.answers import Form, Value


@dataclass(frozen=True)
class Tables:
    """One draw of a world's tables."""

    files: Mapping[str, bytes]
    """The dirty files that the agent gets, by name."""
    records: Any
    """Their content once clean, which references read."""


@dataclass(frozen=True)
class Kind:
    """A kind of question."""

    name: str
    question: str
    """The question, with `{name}` for each parameter."""
    form: Form
    parameters: Mapping[str, Sequence[str]]
    """The options of each parameter; all make sense for every draw of the tables."""
    reference: Callable[..., Value]
    """The answer, a function of (records, **parameters)."""


@dataclass(frozen=True)
class World:
    """Related tables.

    `dictionary` describes the files and how to treat each kind of dirt, so every question has one answer.
    """

    name: str
    dictionary: str
    database: str
    """The name of the SQLite file."""
    draw: Callable[[Random, int], Tables]
    """Draws the tables from a generator, given roughly how many rows the largest one has."""
    kinds: Sequence[Kind]


def delimited(header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str) -> bytes:
    """A table as text with a delimiter."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def sqlite(tables: Mapping[str, Sequence[Sequence[Any]]]) -> bytes:
    """A SQLite file. `tables` maps declarations (`"products (product TEXT, price REAL)"`) to rows."""
    connection = sqlite3.connect(":memory:")
    try:
        for declaration, rows in tables.items():
            connection.execute(f"CREATE TABLE {declaration}")
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {declaration.split()[0]} VALUES ({marks})", rows)
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


def best(totals: Mapping[str, Any]) -> list[str]:
    """Names in descending order of their totals, ties in alphabetical order."""
    return sorted(totals, key=lambda name: (-totals[name], name))
