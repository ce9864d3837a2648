"""A run's configuration for readers: each key's value and meaning, and whether it is the default."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ludus.trainers.config.reading import table_of
from ludus.trainers.config.run import RunConfig


@dataclass(frozen=True)
class Key:
    name: str
    value: str
    changed: bool
    """Whether the value differs from the default."""
    description: str


@dataclass(frozen=True)
class Section:
    name: str
    summary: str
    keys: tuple[Key, ...]


def readable(config: Mapping[str, Any]) -> list[Section]:
    """The sections of `config.toml`, in its order. Unknown keys are shown as they are."""
    sections = []
    for name, values in config.items():
        field = RunConfig.model_fields.get(name)
        table = table_of(field.annotation) if field else None
        for title, given in _tables(name, values):
            sections.append(_section(title, given, table.model_fields if table else {}))
    return sections


def _tables(name: str, values: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """One table, or each of several under a title of its own."""
    if isinstance(values, list):
        return [(f"{name}: {given.get('name') or given['id']}", given) for given in values]
    return [(name, values)]


def _section(title: str, values: Mapping[str, Any], known: Mapping[str, FieldInfo]) -> Section:
    keys = []
    for key, value in values.items():
        default = known[key].get_default(call_default_factory=True) if key in known else PydanticUndefined
        default = default.model_dump() if isinstance(default, BaseModel) else default
        description = (known[key].description or "") if key in known else ""
        said = " ".join(description.replace("`", "").split())
        keys.append(Key(key, written(value), value != default, said))
    changed = [f"{key.name} = {key.value}" for key in keys if key.changed]
    return Section(title, ", ".join(changed)[:160], tuple(keys))


def written(value: Any) -> str:
    """A value as in a TOML file, without quotes unless it is empty."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {written(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return value if value and isinstance(value, str) else json.dumps(value, default=str)
