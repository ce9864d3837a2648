"""Writes into docs/ what docstrings say, so that the pages can be read in the repository, too.

Between `<!-- docstring of NAME -->` and `<!-- end -->` a page has the docstring of that class; between
`<!-- fields of NAME -->` and `<!-- end -->` it has a table for each section of that configuration.
With `--check`, nothing is written, and pages that are out of date are named.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_origin

from pydantic import BaseModel

from ludus.trainers.config.reading import table_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
GENERATED = re.compile(r"(<!-- (docstring|fields) of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(check: bool) -> int:
    stale = []
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        current = GENERATED.sub(_generated, text)
        if current != text:
            stale.append(str(path.relative_to(DOCS.parent)))
            if not check:
                path.write_text(current, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run `make pages`")
        return 1
    return 0


def _generated(match: re.Match[str]) -> str:
    begin, kind, name, end = match.groups()
    subject = resolve_name(name)
    body = inspect.getdoc(subject) if kind == "docstring" else "\n".join(_sections(subject, ""))
    return f"{begin}\n{body.strip()}\n\n{end}"


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """A table of the model's own keys, then the sections inside it."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    if path:
        yield f"## `{path}`\n"
        yield f"{inspect.getdoc(model)}\n"
    keys = {name: entry for name, entry in schema["properties"].items() if _section(model, name) is None}
    if keys:
        yield "| key | value | default | meaning |\n|---|---|---|---|"
        for name, entry in keys.items():
            default = model.model_fields[name].get_default(call_default_factory=True)
            shown = "needed" if name in schema.get("required", ()) else f"`{_toml(default)}`"
            meaning = " ".join(entry.get("description", "").split()).replace("|", "\\|")
            yield f"| `{name}` | {_value(entry, definitions)} | {shown} | {meaning} |"
        yield ""
    for name in model.model_fields:
        if (section := _section(model, name)) is not None:
            inner = f"{path.strip('[]')}.{name}".lstrip(".")
            several = get_origin(model.model_fields[name].annotation) is list
            yield from _sections(section, f"[[{inner}]]" if several else f"[{inner}]")


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model of a key that is a section of its own."""
    return table_of(model.model_fields[name].annotation)


def _toml(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _value(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a key takes, from its JSON schema."""
    if "$ref" in entry:
        return _value(definitions[entry["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in entry:
        return " or ".join(_value(each, definitions) for each in entry["anyOf"] if each.get("type") != "null")
    if "enum" in entry:
        return ", ".join(f"`{_toml(choice)}`" for choice in entry["enum"])
    if "const" in entry:
        return f"`{_toml(entry['const'])}`"
    kind = {"object": "table", "array": "list", "boolean": "true or false"}.get(entry["type"], entry["type"])
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    held = [f"{sign} {entry[name]:g}" for name, sign in bounds if entry.get(name, 2**53) < 2**53]
    return ", ".join([kind, *held])


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
