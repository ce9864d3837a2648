"""`@tool`: a tool from a function's type hints and docstring."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import pydantic

from ludus.tools.errors import ToolError

OURS = ("self", "state")
"""Parameters that the caller of the tool fills in; the model never sees them."""


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    description: str
    """What it does, for the model."""
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""
    function: Callable[..., Any]
    _arguments: type[pydantic.BaseModel] = field(repr=False)

    @property
    def openai(self) -> dict[str, Any]:
        """The tool in OpenAI's form, which chat templates also take."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": json.loads(json.dumps(self.parameters)),
        }
        return {"type": "function", "function": function}

    def read(self, arguments: Any) -> dict[str, Any]:
        """The arguments of a call, as the model wrote them: a JSON object, or the text of one.

        Raises:
            ToolError: they are no object, one is missing, unknown, or of the wrong type.
        """
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except (ValueError, RecursionError) as error:
                raise ToolError(f"{self.name}: the arguments are not valid JSON: {error}") from None
        if not isinstance(arguments, Mapping):
            raise ToolError(f"{self.name}: the arguments must be a JSON object")
        try:
            read = self._arguments.model_validate(dict(arguments))
        except (pydantic.ValidationError, RecursionError) as error:
            raise ToolError(f"{self.name}: {_complaints(error)}") from None
        return {name: getattr(read, name) for name in self._arguments.model_fields}


def tool(function: Callable[..., Any]) -> Tool:
    """Make a tool from a function or method.

    Arguments are typed by their hints and described under `Args:` of the docstring, one `name: text` each;
    `self` and `state` are filled in by whoever runs the tool.

    Raises:
        TypeError: at definition, for an argument without a hint or without a description, or for a function
            without a docstring.
    """
    name = function.__name__
    description, described = _documented(name, inspect.getdoc(function) or "")
    hints = get_type_hints(function)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in OURS:
            continue
        if parameter.name not in hints or parameter.name not in described:
            missing = "type hint" if parameter.name not in hints else "description under 'Args:'"
            raise TypeError(f"tool {name}: the argument {parameter.name!r} has no {missing}; add one")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (
            hints[parameter.name],
            pydantic.Field(default, description=described[parameter.name]),
        )
    arguments = pydantic.create_model(name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)
    schema = arguments.model_json_schema()
    parameters = {
        "type": "object",
        "properties": {
            key: {part: value for part, value in one.items() if part != "title"}
            for key, one in schema.get("properties", {}).items()
        },
        "required": schema.get("required", []),
    }
    if "$defs" in schema:
        parameters["$defs"] = schema["$defs"]
    return Tool(name, description, parameters, function, arguments)


def _documented(name: str, docstring: str) -> tuple[str, dict[str, str]]:
    if not docstring.strip():
        raise TypeError(f"tool {name} has no docstring; say there what it does, for the model")
    head, _, rest = docstring.partition("\nArgs:\n")
    body = re.split(r"\n(?=\S)", rest)[0]
    described: dict[str, str] = {}
    current = ""
    for line in body.splitlines():
        if match := re.match(r" {4}(\w+)(?: \(.*?\))?: (.*)", line):
            current = match[1]
            described[current] = match[2].strip()
        elif line.strip() and current:
            described[current] += " " + line.strip()
    return " ".join(head.split()), described


def _complaints(error: pydantic.ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "the arguments are nested too deeply"
    complaints = []
    for one in error.errors(include_url=False):
        place = ".".join(map(str, one["loc"])) or "arguments"
        if one["type"] == "missing":
            complaints.append(f"the argument {place!r} is missing")
        elif one["type"] == "extra_forbidden":
            complaints.append(f"there is no argument {place!r}")
        else:
            complaints.append(f"{place}: {one['msg']}")
    return "; ".join(complaints)
