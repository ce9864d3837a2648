"""`ChatRequest`: the body of a chat completion, read and checked."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ludus.agents.serving.errors import ApiError
from ludus.agents.serving.memory import REASONING
from ludus.envs.chat import Message, content_text, part_image, part_text

MOST_STOPS = 4
_ROLES = {"developer": "system", **{role: role for role in ("system", "user", "assistant", "tool")}}
_OTHER = {
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "response_format": {"type": "text"},
    "modalities": ["text"],
}
"""Fields that only their usual value is taken of."""
_UNUSED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
"""Fields that are none of the model's business."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False
    """Not done, as it only matters among strangers."""


class ChatRequest(BaseModel):
    """Names and meaning are OpenAI's; `top_k`, `min_p` and `return_token_ids` are vLLM's."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    tools: list[dict[str, Any]] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] = Field(default_factory=list)
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    return_token_ids: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_what_says_nothing(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        said = {key: value for key, value in body.items() if value is not None and key not in _UNUSED}
        return {key: value for key, value in said.items() if key not in _OTHER or value != _OTHER[key]}

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def limit(self) -> int | None:
        """The most tokens of a reply, if the request says."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools that the model is shown."""
        return [] if self.tool_choice == "none" else self.tools

    @property
    def demanded(self) -> list[str]:
        """The tools one of which must be called; empty if none must."""
        names = [tool["function"]["name"] for tool in self.tools]
        if isinstance(self.tool_choice, dict):
            return [self.tool_choice["function"]["name"]]
        return names if self.tool_choice == "required" else []

    def chat(self, sees: bool) -> list[Message]:
        """The messages.

        Args:
            sees: whether the model sees pictures.

        Raises:
            ApiError: one is none.
        """
        return [_message(said, f"messages[{place}]", sees) for place, said in enumerate(self.messages)]


def read_request(body: bytes) -> ChatRequest:
    """
    Raises:
        ApiError: it is not JSON, or not a request.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    for place, tool in enumerate(request.tools):
        _check_tool(tool, f"tools[{place}]")
    _check_choice(request)
    if len(request.stops) > MOST_STOPS or not all(request.stops):
        raise ApiError(400, f"stop: give at most {MOST_STOPS} texts, none of them empty", "stop")
    if request.top_logprobs and not request.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", "top_logprobs")
    return request


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    path = first["loc"]
    param = str(path[0]) if path else None
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first['ctx']['error']}")
    if first["type"] == "missing":
        return ApiError(400, f"{param} is missing", param)
    if first["type"] == "extra_forbidden":
        taken = f"only taken as {json.dumps(_OTHER[param])}" if param in _OTHER else "not supported"
        return ApiError(400, f"{'.'.join(map(str, path))} is {taken}", param, "unsupported_parameter")
    if param is None:
        return ApiError(400, "the body is not a JSON object")
    return ApiError(400, f"{param}: {first['msg']}, not {json.dumps(first['input'])[:80]}", param)


def _check_tool(tool: Mapping[str, Any], where: str) -> None:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise ApiError(400, f'{where} is not of the form {{"type": "function", "function": {{…}}}}', where)
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise ApiError(400, f"{where}.function.name is not a name", f"{where}.function.name")
    if not isinstance(function.get("parameters", {}), dict):
        raise ApiError(
            400, f"{where}.function.parameters is not a JSON schema", f"{where}.function.parameters"
        )


def _check_choice(request: ChatRequest) -> None:
    choice, names = request.tool_choice, [tool["function"]["name"] for tool in request.tools]
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if choice.get("type") != "function" or name not in names:
            raise ApiError(
                400, f"tool_choice names none of the tools ({', '.join(names) or 'none'})", "tool_choice"
            )
    elif choice == "required" and not names:
        raise ApiError(400, 'tool_choice "required" needs tools', "tool_choice")


def _message(said: Mapping[str, Any], where: str, sees: bool) -> Message:
    """A message as conversations have it, without what vendors add."""
    role = _ROLES.get(str(said.get("role")))
    if role is None:
        raise ApiError(400, f"{where}.role is none of {', '.join(_ROLES)}", f"{where}.role")
    message = {"role": role, "content": _content(said.get("content"), f"{where}.content", sees)}
    if role == "tool":
        message["tool_call_id"] = _text(said.get("tool_call_id"), f"{where}.tool_call_id")
    if role == "assistant" and (thought := said.get(REASONING)):
        message[REASONING] = _text(thought, f"{where}.{REASONING}")
    if role == "assistant" and (calls := said.get("tool_calls")):
        listed = enumerate(calls if isinstance(calls, list) else [calls])
        message["tool_calls"] = [_call(call, f"{where}.tool_calls[{place}]") for place, call in listed]
    return cast(Message, message)


def _content(content: Any, where: str, sees: bool) -> Any:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ApiError(400, f"{where} is neither a text nor a list of parts", where)
    for place, part in enumerate(content):
        if part_text(part) is None and not (sees and part_image(part)):
            kind = part.get("type") if isinstance(part, dict) else None
            takes = (
                'parts of the types "text" and "image_url" (a data URL)'
                if sees
                else 'parts of the type "text"'
            )
            raise ApiError(400, f"{where}[{place}] ({kind}): this model takes {takes}", f"{where}[{place}]")
    return content if any(map(part_image, content)) else content_text({"content": content})


def _call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise ApiError(400, f"{where} has no function", where)
    name = _text(function.get("name"), f"{where}.function.name")
    arguments = _text(function.get("arguments", ""), f"{where}.function.arguments")
    id = _text(call.get("id"), f"{where}.id")
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ApiError(400, f"{where} is not a text", where)
    return value
