"""Reading a configuration: TOML, overrides of the command line, and one line about what is wrong."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.values import nearest
from ludus.trainers.errors import ConfigError

_MOST_ERRORS = 3
"""How many mistakes in a configuration an error reports."""


def load_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Read a configuration.

    Args:
        path: A TOML file.
        overrides: Values as typed on a command line by dotted key, such as `{"grpo.learning_rate": "3e-4"}`;
            TOML syntax, with the quotes around a string left out.

    Raises:
        ConfigError: one line that names the key, what is wrong with it and what would be right.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        nearby = _configurations(path.parent) or _configurations(Path("configs"))
        there = f"; there is {', '.join(nearby)}" if nearby else ""
        raise ConfigError(f"{path}: no such configuration file{there}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for key, text in (overrides or {}).items():
        override(values, key, text)
    return parse_config(values, source=str(path))


def parse_config(values: Mapping[str, Any], source: str = "configuration") -> RunConfig:
    """Validate a configuration given as nested tables.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as invalid:
        # An unknown table goes first: a misspelt name is often why another table is missing.
        errors = sorted(invalid.errors(), key=lambda error: error["type"] != "extra_forbidden")
        told = "; also, ".join(map(_explain, errors[:_MOST_ERRORS]))
        more = f" (and {len(errors) - _MOST_ERRORS} more)" if len(errors) > _MOST_ERRORS else ""
        raise ConfigError(f"{source}: {told}{more}") from None


def override(values: dict[str, Any], key: str, text: str) -> None:
    *sections, name = key.split(".")
    table: Any = values
    for section in sections:
        if isinstance(table, list):
            if not section.isdecimal() or int(section) >= len(table):
                raise ConfigError(f'--{key}: there are {len(table)} tables, numbered from 0, not "{section}"')
            table = table[int(section)]
        else:
            table = table.setdefault(section, {})
        if not isinstance(table, dict | list):
            raise ConfigError(f'--{key}: "{section}" is a value, not a section that could hold "{name}"')
    if isinstance(table, list):
        raise ConfigError(f"--{key}: say of which table, as in --{'.'.join(sections)}.0.{name}")
    table[name] = text if _annotation(key) is str else _toml_value(text)


def _configurations(folder: Path) -> list[str]:
    """The TOML files of a folder, except pyproject.toml, which does not configure a run."""
    return sorted(str(file) for file in folder.glob("*.toml") if file.name != "pyproject.toml")


def _toml_value(text: str) -> Any:
    """`text` as a TOML value, or as the string that it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _annotation(key: str) -> Any:
    """The type of a field by its dotted key, with the number of a table in a list of them as a part; None if
    there is no such field."""
    kind: Any = RunConfig
    for part in key.split("."):
        table = table_of(kind)
        if table is not None and part.isdecimal():
            kind = table
        elif table is None or part not in table.model_fields:
            return None
        else:
            kind = table.model_fields[part].annotation
    return kind


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The table that a field holds, if it holds one, none or a list of them; otherwise None."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _explain(error: ErrorDetails) -> str:
    """One line for one of pydantic's errors."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    match error["type"]:
        case "extra_forbidden":
            parent = ".".join(location[:-1])
            section = table_of(_annotation(parent) if parent else RunConfig)
            known = section.model_fields if section is not None else ()
            return f'unknown key "{key}"{nearest(location[-1], known)}'
        case "missing":
            return f'"{key}" is missing and has no default; add it'
        case "literal_error":
            choices, given = [str(choice) for choice in get_args(_annotation(key))], error["input"]
            return (
                f'{key} = "{given}" is not one of {", ".join(choices)}{nearest(given, choices, listed=True)}'
            )
        case "list_type":
            return (
                f"{key} = {error['input']!r} is not a list; write [{json.dumps(error['input'], default=str)}]"
            )
        case "value_error":
            return (f"{key}: " if key else "") + str(error["ctx"]["error"])
        case _:
            return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
