"""Values typed on the command line: `key=value` pairs and `--dotted.key value` options."""

import json
import tomllib
from collections.abc import Collection, Sequence
from typing import Any

from ludus.cli.errors import UsageError


def parse_value(text: str) -> Any:
    """`7`, `0.5`, `true`, `[1, 2]`, `{a = 1}` as in TOML; JSON if it is not TOML; else the text.

    >>> parse_value("[1, 2]"), parse_value("null"), parse_value("plus")
    ([1, 2], None, 'plus')
    """
    if "\n" in text:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments that `--arg key=value` options give.

    Raises:
        UsageError: a pair has no `=`, no name, or a name that was given before.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise UsageError(f"--arg {pair!r} is not a key=value pair: write for example --arg rows=7")
        if key in arguments:
            raise UsageError(f"--arg {key} is given twice: keep one")
        arguments[key] = parse_value(value.strip())
    return arguments


def split_overrides(argv: Sequence[str], own: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Split the arguments of `ludus train` into its own and `--dotted.key value` overrides.

    `own` are the names of the command's own options, which stay where they are. Any other `--name` takes the
    next argument as its value, or the text after `=`.

    Raises:
        UsageError: an override without a value.
    """
    kept: list[str] = []
    overrides: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if not word.startswith("--") or name.removeprefix("--") in own:
            kept.append(word)
            continue
        key = name.removeprefix("--").replace("-", "_")
        if not equals:
            value = next(words, "")
            if not value or value.startswith("--"):
                raise UsageError(f"{name} has no value: write {name} VALUE")
        overrides[key] = value
    return kept, overrides
