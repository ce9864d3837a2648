"""`McpServer`: the tools of an MCP server, called from ordinary code."""

import asyncio
import base64
import json
import logging
import os
import shutil
import site
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TextIO

from ludus.tools.errors import ToolError, ToolFault, UserError
from ludus.tools.extras import MCP_MISSING
from ludus.tools.tool import Tool

try:
    import anyio
    import httpx2
    import mcp
    import pydantic
    from mcp import Client, types
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client
except ImportError as error:
    raise UserError(MCP_MISSING.format(error.name)) from error

# The SDK logs tracebacks of what we report in one line.
logging.getLogger("mcp").addHandler(logging.NullHandler())

TIMEOUT_S = 30.0
CLOSING_S = 8.0
"""How long closing may take: the SDK gives a server 2 s to end by itself and 2 s after SIGTERM, then kills it
and everything it started."""
FOLDER = "{folder}"
"""Stands for a session's own folder in a command and its environment."""
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")

Content = str | list[dict[str, Any]]
"""A tool's answer: a text, or texts and images as parts of a chat message."""


class McpServer:
    """An MCP server, started from a command or reached at a URL.

    A connection is one session with the server. It lives in its own thread, from `open` (or `with`) to
    `close`; a process that was started for it ends with it, along with its children.

        with McpServer(command=["python", "-m", "my_server"]) as server:
            for tool in server.tools:
                print(tool.name, tool.description)
            server.call("add", {"a": 1, "b": 2})

    The tools are those that the server lists when the connection opens. An agent is told of them once, so
    changing them later is the server's fault.

    A server that keeps files shows one session what another one left behind, unless each session has a
    folder of its own (`own_folder`): new and empty when the session opens, deleted when it closes. The
    process starts in it and has it as HOME and TMPDIR; where a server wants a path, write `{folder}`:

        McpServer(
            ["npx", "-y", "@modelcontextprotocol/server-memory"],
            env={"MEMORY_FILE_PATH": "{folder}/memory.jsonl"},
        )

    Args:
        command: a program that speaks MCP on its standard input and output, and its arguments.
        url: an address that speaks "streamable HTTP", such as `http://127.0.0.1:8000/mcp`.
        env: environment variables of the command, besides PATH, HOME and the like, which it inherits.
        headers: for a URL: sent with every request, such as `{"Authorization": "Bearer …"}`.
        timeout_s: the time limit for opening the connection, and for every call.
        own_folder: for a command: whether each session has a folder of its own; `{folder}` implies it.
            Arguments that name existing files still mean these, and `npx`, `uvx` and Python find what they
            have installed or cached; `env` overrides every variable that is set for that.

    Raises:
        ValueError: not exactly one of `command` and `url` is given, or `own_folder` for a URL.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        url: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        own_folder: bool = False,
    ) -> None:
        if (not command) == (not url):
            raise ValueError("McpServer: give either a command or a url")
        if isinstance(command, str):
            raise ValueError(f"McpServer: the command {command!r} is a text; give a list of words")
        if url and own_folder:
            raise ValueError("McpServer: own_folder is for a command: the server at a url has its own files")
        self.command, self.url = tuple(command or ()), url or ""
        self.env, self.headers, self.timeout_s = dict(env or {}), dict(headers or {}), timeout_s
        self.own_folder = own_folder or any(FOLDER in word for word in (*self.command, *self.env.values()))
        self.tools: tuple[Tool, ...] = ()
        self._listed: dict[str, Any] = {}
        self._connection: _Connection | None = None
        self._closing: weakref.finalize[Any, Any] | None = None

    @property
    def name(self) -> str:
        """The URL, or the command's words."""
        return self.url or " ".join(self.command)

    def apart(self, own_folder: bool) -> "McpServer":
        """The same server, not open yet, whose sessions are none of this object's.

        Args:
            own_folder: whether each session of a command has a folder of its own.
        """
        return McpServer(
            self.command,
            self.url,
            env=self.env,
            headers=self.headers,
            timeout_s=self.timeout_s,
            own_folder=own_folder and bool(self.command),
        )

    def open(self) -> Self:
        """Connect, and list the tools. An open connection is closed first.

        Raises:
            UserError: there is no such program.
            ToolFault: the server cannot be reached, ends, or does not answer in time.
        """
        self.close()
        if self.command and shutil.which(self.command[0]) is None:
            raise UserError(
                f"MCP server: there is no program {self.command[0]!r}: install it, or give its path"
            )
        self._connection = connection = _Connection(self._transport(), self.timeout_s)
        # No process is left behind, even if nobody calls `close`.
        self._closing = weakref.finalize(self, connection.close)
        try:
            self._ask(connection.opened.result, "connecting")
            self._listed = self._ask(lambda: connection.run(_list_tools), "tools/list")
        except BaseException:
            self.close()
            raise
        self.tools = tuple(self._tool(tool) for tool in self._listed.values())
        return self

    def close(self) -> None:
        """End the session, and the process if one was started. Does nothing if no session is open."""
        self._connection = None
        if self._closing is not None:
            self._closing()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> Content:
        """Call a tool of the server.

        Raises:
            ToolError: the server answered that the call is wrong or failed; the message is the server's.
            ToolFault: the server ended, did not answer in time, does not speak MCP, or offers different tools
                than at first.
        """
        result = self.result(name, arguments)
        if result.is_error:
            raise ToolError(_words(result))
        return _content(result)

    def result(self, name: str, arguments: Mapping[str, Any] | None = None) -> types.CallToolResult:
        """The whole result of a call, with its blocks, its `meta`, and whether the tool calls it an error.

        Raises:
            ToolError: the server refuses the call itself.
            ToolFault: as in `call`.
        """
        connection = self._opened()
        refusal = None
        try:
            result = self._answer(
                lambda: connection.run(lambda client: client.call_tool(name, dict(arguments or {}))), name
            )
        except mcp.MCPError as error:
            if error.code not in (types.INVALID_PARAMS, types.METHOD_NOT_FOUND):
                raise self._fault(f"{name}: {error}") from error
            refusal = str(error)
        # A wrong call is the model's error, unless the tool has changed since the model was told of it.
        if refusal is not None or result.is_error or connection.tools_changed:
            self._require_the_same_tools()
        if refusal is not None:
            raise ToolError(refusal)
        return result

    def read(self, uri: str) -> str:
        """The text of a resource.

        Raises:
            ToolFault: there is no such resource; otherwise as in `call`.
        """
        connection = self._opened()
        result = self._ask(lambda: connection.run(lambda client: client.read_resource(uri)), uri)
        return "\n".join(
            content.text for content in result.contents if isinstance(content, types.TextResourceContents)
        )

    def _opened(self) -> "_Connection":
        if self._connection is None:
            raise RuntimeError(f"the MCP server {self.name} is not connected: call open(), or use `with`")
        return self._connection

    def _ask(self, asking: Callable[[], Any], what: str) -> Any:
        """What `asking` returns, which must be a result.

        Raises:
            ToolFault: the server did not answer, answered with an error, or cannot be understood.
        """
        try:
            return self._answer(asking, what)
        except mcp.MCPError as error:
            raise self._fault(f"{what}: {error}") from error

    def _answer(self, asking: Callable[[], Any], what: str) -> Any:
        """What `asking` returns, which must be an answer.

        Raises:
            mcp.MCPError: the server answered with an error.
            ToolFault: it did not answer, or its answer cannot be understood.
        """
        try:
            return asking()
        except TimeoutError as error:
            raise self._fault(f"{what}: no answer within {self.timeout_s:g} s") from error
        except mcp.MCPError as error:
            if error.code == types.CONNECTION_CLOSED:
                raise self._fault(f"{what}: it ended, or closed the connection") from error
            raise
        except Exception as error:  # whatever the SDK raises for a broken line, an odd answer, HTML, …
            cause = _leaf(error)
            words = str(cause).partition("\n")[0]
            raise self._fault(f"{what}: {type(cause).__name__}: {words}") from error

    def _require_the_same_tools(self) -> None:
        connection = self._opened()
        connection.tools_changed = False
        now = self._ask(lambda: connection.run(_list_tools), "tools/list")
        if now == self._listed:
            return
        gone = [f"{name!r} is gone" for name in self._listed if name not in now]
        new = [f"{name!r} is new" for name in now if name not in self._listed]
        other = [f"{name!r} has changed" for name in now if self._listed.get(name, now[name]) != now[name]]
        raise self._fault(
            f"it changed its tools ({', '.join([*gone, *new, *other])}), which must stay the same in an "
            "episode; connect anew to take them as they are"
        )

    def _fault(self, what: str) -> ToolFault:
        said = self._connection.last_words() if self._connection is not None else ""
        return ToolFault(f"MCP server {self.name}: {what}" + (f"; it said: {said}" if said else ""))

    def _transport(self) -> "Transport":
        if self.url:
            return partial(_reach, self.url, self.headers, self.timeout_s)
        return partial(_start, self.command, self.env, self.own_folder)

    def _tool(self, listed: types.Tool) -> Tool:
        def call(**arguments: Any) -> Content:
            return self.call(listed.name, arguments)

        return Tool.from_schema(listed.name, listed.description or "", listed.input_schema, call)


Transport = Callable[[TextIO], AbstractAsyncContextManager[Any]]
"""Makes the SDK's transport; the file receives the standard error of the process, if it starts one."""


@asynccontextmanager
async def _reach(url: str, headers: Mapping[str, str], timeout_s: float, _: TextIO) -> AsyncIterator[Any]:
    async with (
        # Time limits apply to requests: here, one would end the whole session.
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(timeout_s, read=None)) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


@asynccontextmanager
async def _start(
    command: Sequence[str], env: Mapping[str, str], own_folder: bool, errors: TextIO
) -> AsyncIterator[Any]:
    if not own_folder:
        program, *arguments = command
        parameters = mcp.StdioServerParameters(command=program, args=arguments, env=dict(env))
        async with stdio_client(parameters, errors) as streams:
            yield streams
        return
    # What a server that was killed still writes must not keep the session from closing.
    with tempfile.TemporaryDirectory(prefix="ludus-mcp-", ignore_cleanup_errors=True) as folder:
        own = {"HOME": folder, "TMPDIR": folder, **_installed()}
        own |= {name: value.replace(FOLDER, folder) for name, value in env.items()}
        program = os.path.abspath(shutil.which(command[0]) or command[0])
        arguments = [_elsewhere(word).replace(FOLDER, folder) for word in command[1:]]
        parameters = mcp.StdioServerParameters(command=program, args=arguments, env=own, cwd=folder)
        async with stdio_client(parameters, errors) as streams:
            yield streams


def _elsewhere(word: str) -> str:
    """An argument as it must be written in another folder to name the same file."""
    return os.path.abspath(word) if os.path.isfile(word) else word


def _installed() -> dict[str, str]:
    """Where the programs that start servers find what they have installed, if HOME is another folder."""
    home = Path.home()
    usual = {
        "PYTHONUSERBASE": site.getuserbase(),
        "UV_CACHE_DIR": home / ".cache" / "uv",
        "UV_PYTHON_INSTALL_DIR": home / ".local" / "share" / "uv" / "python",
        "UV_TOOL_DIR": home / ".local" / "share" / "uv" / "tools",
        "npm_config_cache": home / ".npm",
    }
    return {name: os.environ.get(name) or str(place) for name, place in usual.items()}


class _Connection:
    """A session with a server, in an event loop in a thread of its own."""

    def __init__(self, transport: Transport, timeout_s: float) -> None:
        self.opened: Future[None] = Future()
        self.tools_changed = False
        self._transport, self._timeout_s = transport, timeout_s
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._no_mcp = ""
        self._client: Client | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="mcp-client", daemon=True)
        self._thread.start()

    def run(self, asking: Callable[[Client], Awaitable[Any]]) -> Any:
        """The server's answer.

        Raises:
            TimeoutError: there was no answer within the limit.
        """

        async def bounded() -> Any:
            assert self._client is not None, "run() needs a connection that has opened"
            with anyio.fail_after(self._timeout_s):
                return await asking(self._client)

        return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(CLOSING_S)
        self._errors.close()

    def last_words(self) -> str:
        """The last line of a server's standard error, or of its output outside MCP."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return (lines[-1] if lines else self._no_mcp)[:300]

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        """Hold the session open until `close`. The SDK requires the same task to open and close it."""
        try:
            with anyio.CancelScope() as opening:
                limit = self._loop.call_later(self._timeout_s, opening.cancel)
                client = Client(self._transport(self._errors), message_handler=self._notice, cache=None)
                async with client:
                    limit.cancel()
                    self._client = client
                    self.opened.set_result(None)
                    await self._stop.wait()
            if opening.cancelled_caught:
                raise TimeoutError
        except Exception as error:
            if not self.opened.done():
                self.opened.set_exception(error)
        # The SDK tells pending requests that the session is over; for that the loop must keep running.
        await self._stop.wait()

    async def _notice(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.tools_changed = True
        elif isinstance(message, pydantic.ValidationError):
            self._no_mcp = str(message.errors(include_url=False)[0]["input"])


async def _list_tools(client: Client) -> dict[str, types.Tool]:
    listed: dict[str, types.Tool] = {}
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        listed |= {tool.name: tool for tool in page.tools}
        if not (cursor := page.next_cursor):
            return listed


def _leaf(error: BaseException) -> BaseException:
    """The first error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _content(result: types.CallToolResult) -> Content:
    """A result as the content of a chat message."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _words(result: types.CallToolResult) -> str:
    content = _content(result)
    words = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    return words or "the tool failed without a word"


def _part(block: types.ContentBlock) -> dict[str, Any]:
    match block:
        case types.TextContent(text=text):
            return {"type": "text", "text": text}
        case types.ImageContent(data=data, mime_type=mime) if mime in IMAGES and _is_base64(data):
            return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}"}}
        case types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
            return {"type": "text", "text": text}
        case types.ResourceLink(uri=uri):
            return {"type": "text", "text": uri}
    return {"type": "text", "text": f"[{block.type}]"}


def _is_base64(data: str) -> bool:
    try:
        base64.b64decode(data, validate=True)
    except ValueError:
        return False
    return True
