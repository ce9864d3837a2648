"""`Mcp`: an environment behind `ludus serve mcp`, over HTTP, by our client."""

import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from ludus.envs.chat import Chat, as_reply, reply_text, reply_tool_calls, tool_result, user
from ludus.envs.conformance.surfaces.port import Port
from ludus.envs.conformance.surfaces.surface import Lost, Seen, Session, Surface, make_chat
from ludus.envs.faults import EnvironmentFault
from ludus.envs.mcp.server import OUR_TOOLS, RECORD, SAY, STEP, EnvironmentServer, environment_server
from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.mcp import McpServer

_OURS = {tool.name for tool in OUR_TOOLS}
_BROKE = "the environment broke: "


class Mcp(Surface):
    """A server's first episode has the server's seed, so there is a server for each seed."""

    name = "MCP"
    lacks: ClassVar[Mapping[str, str]] = {
        "roles": "a result has blocks of content, not messages with roles and ids",
        "anchor": "clients are not told the key of a state",
    }

    def __init__(self) -> None:
        self._served: dict[str, tuple[EnvironmentServer, Port]] = {}

    def open(self, id: str, arguments: Mapping[str, Any]) -> "_McpSession":
        return _McpSession(self, id, arguments)

    def refuses(self, reply: Any) -> str:
        reply = as_reply(reply)
        if not isinstance(reply, str) and not (
            isinstance(reply, Mapping) and reply.get("role") == "assistant"
        ):
            return "what is no reply: a client says a text or calls a tool"
        calls = reply_tool_calls(reply)
        if len(calls) > 1:
            return "several calls in one reply: a client makes one after the other"
        if calls and reply_text(reply):
            return "text beside a call: a call has none"
        if calls:
            if (called := _call(calls[0])) is None:
                return "a call whose form is wrong: the protocol has a name and an object of arguments"
            if called[0] in _OURS:
                return "a call of the server's own tools"
        try:
            json.dumps(reply, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:
            return "halves of characters, and numbers that JSON has not"
        return ""

    def url(self, id: str, arguments: Mapping[str, Any], seed: int) -> str:
        key = json.dumps([id, arguments, seed], sort_keys=True, default=repr)
        if key not in self._served:
            server = environment_server(id, functools.partial(make_chat, id, arguments), seed)
            self._served[key] = server, Port(server.http_app())
        return f"{self._served[key][1].url}/mcp"

    def end(self, url: str) -> None:
        """End the server of an address."""
        for key, (server, port) in [*self._served.items()]:
            if url.startswith(f"{port.url}/"):
                port.close()
                server.close()
                del self._served[key]

    def close(self) -> None:
        for _, port in [*self._served.values()]:
            self.end(f"{port.url}/")


class _McpSession(Session):
    def __init__(self, surface: Mcp, id: str, arguments: Mapping[str, Any]) -> None:
        self._surface, self._id, self._arguments = surface, id, arguments
        self._client: McpServer | None = None
        self._task = ""

    @property
    def tools(self) -> list[dict[str, Any]]:
        offered = self._client.tools if self._client is not None else ()
        return [tool.openai for tool in offered if tool.name not in _OURS]

    def reset(self, seed: int) -> Seen:
        self.close()
        url = self._surface.url(self._id, self._arguments, seed)
        self._client = McpServer(url=url).open()
        record = json.loads(self._client.read(RECORD))
        self._task = record["task"]
        return Seen(record["messages"], self._task, None)

    def step(self, reply: Any) -> Seen:
        reply = as_reply(reply)
        assert self._client is not None, "reset() comes before step()"
        calls = reply_tool_calls(reply)
        called = _call(calls[0]) if calls else None
        name, arguments = called or (SAY, {"text": reply_text(reply)})
        try:
            result = self._client.result(name, arguments)
        except ToolFault as fault:
            if _BROKE in str(fault):
                raise EnvironmentFault(str(fault).partition(_BROKE)[2]) from fault
            raise Lost(str(fault)) from fault
        except ToolError as refusal:
            raise Lost(str(refusal)) from refusal
        step = (result.meta or {}).get(STEP)
        if step is None:
            raise Lost(" ".join(block.text for block in result.content if block.type == "text"))
        over = step["terminated"] or step["truncated"]
        messages = _messages(result, calls[0] if calls else None, over)
        return Seen(
            messages, self._task, None, step["reward"], step["terms"],
            step["terminated"], step["truncated"], step["success"],
        )  # fmt: skip

    def cut(self) -> None:
        assert self._client is not None
        self._surface.end(self._client.url)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def _call(call: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of a call; None where it has none of the protocol's form."""
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    name, arguments = function.get("name"), function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def _messages(result: Any, call: Mapping[str, Any] | None, over: bool) -> Chat:
    """The blocks of a result as one message: without the line on how the episode ended, and with the word
    by which the environment says that a call was wrong."""
    parts: list[dict[str, Any]] = []
    for block in result.content[: len(result.content) - over]:
        if block.type == "text":
            parts.append({"type": "text", "text": block.text})
        else:
            url = f"data:{block.mime_type};base64,{block.data}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
    if result.is_error and parts and parts[0]["type"] == "text":
        parts[0]["text"] = f"Error: {parts[0]['text']}"
    if not parts:
        return []
    return [user(parts) if call is None else tool_result(call, parts)]
