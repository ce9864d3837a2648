"""`@tool`: a tool from a function's type hints and docstring."""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, get_type_hints

import pydantic

from ludus.tools import schema
from ludus.tools.errors import ToolError

OURS = ("self", "state")
"""Parameters that the tool's caller fills in; the model never sees them."""


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    description: str
    """What it does, for the model."""
    parameters: Mapping[str, Any]
    """JSON schema of the arguments."""
    function: Callable[..., Any]
    _check: Callable[[dict[str, Any]], dict[str, Any]] = field(repr=False)
    """Converts arguments to those of the function; raises a `ToolError` that says what is wrong with them."""

    @classmethod
    def from_schema(
        cls, name: str, description: str, parameters: Mapping[str, Any], function: Callable[..., Any]
    ) -> "Tool":
        """A tool that is described elsewhere, for example by an MCP server.

        Args:
            parameters: the JSON schema of the arguments. They are passed on unchanged, and only those given.
        """
        # If the schema does not mention other arguments, an unknown name is most likely a mistake.
        closed = {"type": "object", "additionalProperties": False, **parameters}

        def check(arguments: dict[str, Any]) -> dict[str, Any]:
            if wrong := schema.complaints(arguments, closed):
                raise ToolError(schema.joined(wrong, len(wrong)))
            return arguments

        return cls(name, description, parameters, function, check)

    @property
    def openai(self) -> dict[str, Any]:
        """The tool in OpenAI's form, which chat templates also take."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": json.loads(json.dumps(self.parameters)),
        }
        return {"type": "function", "function": function}

    @property
    def mcp(self) -> dict[str, Any]:
        """The tool as a server of the Model Context Protocol lists it."""
        parameters = json.loads(json.dumps(self.parameters))
        return {"name": self.name, "description": self.description, "inputSchema": parameters}

    def read(self, arguments: Any) -> dict[str, Any]:
        """The arguments of a call, from what the model wrote: a JSON object, or its text. In place of a list
        or an object, its text (`"[1, 2]"`) will do.

        Raises:
            ToolError: they are not an object, or one is missing, unknown, or of the wrong type.
        """
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}", parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                wrong = f"the arguments are not valid JSON: {error}; they were {schema.shown(arguments)}"
                raise ToolError(f"{self.name}: {wrong}") from None
        if not isinstance(arguments, Mapping):
            raise ToolError(
                f"{self.name}: the arguments must be a JSON object, not {schema.shown(arguments)}"
            )
        try:
            # Half a surrogate pair cannot be encoded in UTF-8: it would break whatever a tool did with it.
            json.dumps(arguments, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ToolError(
                f"{self.name}: the arguments hold half of a surrogate pair: write whole characters"
            ) from None
        except RecursionError:
            raise ToolError(f"{self.name}: the arguments are nested too deeply") from None
        except (TypeError, ValueError) as error:
            # Values that arrived as objects: a number with thousands of digits, or a list that contains
            # itself.
            raise ToolError(f"{self.name}: the arguments are no JSON: {error}") from None
        try:
            return self._check(dict(schema.unpacked(arguments, self.parameters, self.parameters)))
        except ToolError as error:
            raise ToolError(f"{self.name}: {error}") from None
        except RecursionError:
            raise ToolError(f"{self.name}: the arguments are nested too deeply") from None


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
    config = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    arguments = pydantic.create_model(name, __config__=config, **fields)
    own = arguments.model_json_schema()
    parameters = {
        "type": "object",
        "properties": {
            key: {part: value for part, value in argument.items() if part != "title"}
            for key, argument in own.get("properties", {}).items()
        },
        "required": own.get("required", []),
    }
    if "$defs" in own:
        parameters["$defs"] = own["$defs"]

    def check(given: dict[str, Any]) -> dict[str, Any]:
        try:
            read = arguments.model_validate(given)
        except pydantic.ValidationError as error:
            raise ToolError(_complaints(error, fields)) from None
        return {key: getattr(read, key) for key in fields}

    return Tool(name, description, parameters, function, check)


def _documented(name: str, docstring: str) -> tuple[str, dict[str, str]]:
    if not docstring.strip():
        raise TypeError(f"tool {name} has no docstring: write one that tells the model what it does")
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


def _complaints(error: pydantic.ValidationError, known: Iterable[str]) -> str:
    complaints = []
    for problem in error.errors(include_url=False)[: schema.MOST]:
        place = ".".join(map(str, problem["loc"])) or "arguments"
        match problem["type"]:
            case "missing":
                complaints.append(schema.missing(place))
            case "extra_forbidden":
                complaints.append(schema.unknown(place, known))
            case "literal_error" | "enum":
                choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
                wrong = (
                    schema.not_one_of(problem["input"], choices)
                    if choices
                    else f"must be {problem['ctx']['expected']}"
                )
                complaints.append(f"{place}: {wrong}")
            case _:
                wrong = problem["msg"].replace("Input should be", "must be")
                complaints.append(f"{place}: {wrong}, not {schema.shown(problem['input'])}")
    return schema.joined(complaints, error.error_count())


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
