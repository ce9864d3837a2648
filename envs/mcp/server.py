"""An environment's tools for any MCP client: `environment_server`, over standard input and output or HTTP."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import gymnasium

from ludus.envs.chat import Chat, content_text, part_image, part_text, transcript
from ludus.envs.faults import EnvironmentFault
from ludus.envs.mcp.episodes import Episodes, NoEpisode, Step, Watcher
from ludus.tools.errors import UserError
from ludus.tools.extras import MCP_MISSING
from ludus.tools.tool import Tool

try:
    from mcp import MCPError, types
    from mcp.server import Server, ServerRequestContext
    from mcp.server.stdio import stdio_server
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as error:
    raise UserError(MCP_MISSING.format(error.name)) from error

Make = Callable[[], gymnasium.Env[Any, Any]]

TASK, RECORD = "ludus://task", "ludus://episode"
STEP = "ludus/step"
"""Key of a result's `_meta` under which a rig reads reward, terms and end of the step."""
SAY, NEXT, SHOW = "episode_say", "episode_next", "episode_task"
SESSIONS, IDLE_S = 256, 1800.0
"""Over HTTP: how many sessions there may be at a time, and after how long without a request one is ended."""
SESSION_ID = "mcp-session-id"
CLOSING_S = 5.0
"""How long the environments get to close when the server ends."""

_TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "description": "What to say."}},
    "required": ["text"],
    "additionalProperties": False,
}
_NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
OUR_TOOLS = (
    types.Tool(name=SHOW, description="Show the task of this episode again.", input_schema=_NOTHING),
    types.Tool(
        name=SAY,
        description="Say something in the episode: an answer, or a question where there is somebody to ask.",
        input_schema=_TEXT,
    ),
    types.Tool(
        name=NEXT,
        description="Begin the next episode, and show its task. One that is not over yet is given up.",
        input_schema=_NOTHING,
    ),
)
INSTRUCTIONS = (
    f"One episode of {{id}} is played in each session. Its task is the prompt `task`, the resource {TASK} "
    f"and what the tool {SHOW} answers. {SAY} answers in text, {NEXT} begins the next episode."
)


def environment_server(
    id: str, make: Make, seed: int = 0, watcher: Callable[[], Watcher] = Watcher
) -> "EnvironmentServer":
    """A server for the tools of an environment.

    Args:
        id: what the environment is called, for clients.
        make: makes it; every session has an instance of its own.
        seed: of a session's first episode; the next ones have the seeds after it.
        watcher: makes what a session's episodes are told to.

    Raises:
        UserError: the environment has a tool whose name is one of the server's own.
    """
    env = make()
    try:
        tools: tuple[Tool, ...] = env.unwrapped.tools  # type: ignore[attr-defined]
    finally:
        env.close()
    for name in {SAY, NEXT, SHOW} & {tool.name for tool in tools}:
        raise UserError(f"{id} has a tool {name!r}, which the server needs for itself: rename the tool")
    return EnvironmentServer(id, make, seed, tools, watcher)


@dataclass
class _Player:
    """The episodes of one session, in a thread of their own: an environment belongs to one thread."""

    make: Make
    seed: int
    watcher: Watcher
    used: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "episode")
        self._episodes: Episodes | None = None

    async def do(self, what: Callable[[Episodes], Any]) -> Any:
        def run() -> Any:
            if self._episodes is None:
                self._episodes = Episodes(self.make, self.seed, self.watcher)
            return what(self._episodes)

        self.used = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except EnvironmentFault as fault:
            message = f"the environment broke: {fault}; {NEXT} begins another episode"
            raise MCPError(types.INTERNAL_ERROR, message) from fault
        finally:
            self.used = time.monotonic()

    def close(self, patience_s: float = 0.0) -> None:
        """Close the environment once its current step is done; wait this long for it."""

        def end() -> None:
            if self._episodes is not None:
                self._episodes.close()

        ending = self._thread.submit(end)
        self._thread.shutdown(wait=False)
        wait([ending], patience_s)


class EnvironmentServer:
    """What `environment_server` makes: run it with `run_stdio`, or serve `http_app()`."""

    def __init__(
        self,
        id: str,
        make: Make,
        seed: int,
        tools: tuple[Tool, ...],
        watcher: Callable[[], Watcher] = Watcher,
    ) -> None:
        self._make, self._seed, self._watcher = make, seed, watcher
        self._tools = [*(types.Tool.model_validate(tool.mcp) for tool in tools), *OUR_TOOLS]
        self._id = id
        self._players: dict[str, _Player] = {}

    async def run_stdio(self) -> None:
        """Serve the one client at standard input and output, until it leaves.

        Meanwhile whatever else prints is sent to standard error.
        """
        server = self._server()
        loop = asyncio.get_running_loop()
        for told in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(told, self._leave)
        try:
            async with stdio_server() as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
        finally:
            self.close()

    def http_app(self) -> ASGIApp:
        """The application for the transport "streamable HTTP", at `/mcp`.
        `ludus.tools.services.guard.guarded` decides who may call it."""
        server = self._server()
        # Since 2026 the protocol has no sessions over HTTP, and an episode needs one: newer clients are told
        # that only the versions with a handshake are spoken, and open a session.
        server.add_request_handler("server/discover", types.RequestParams, _discover_sessions)
        app = server.streamable_http_app(
            json_response=True,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            session_idle_timeout=IDLE_S,
            max_sessions=SESSIONS,
        )

        async def forgetting(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)
            if scope["type"] == "http" and scope["method"] == "DELETE":
                self._forget(dict(scope["headers"]).get(SESSION_ID.encode(), b"").decode("latin-1"))

        return forgetting

    def close(self) -> None:
        """Close the environments of all sessions."""
        players, self._players = self._players, {}
        for player in players.values():
            player.close(CLOSING_S)

    def _leave(self) -> None:
        self.close()
        # A thread waits for the client's next line, and nothing can wake it.
        os._exit(0)

    def _server(self) -> Server[Any]:
        return Server(
            f"ludus: {self._id}",
            version=version("ludus"),
            instructions=INSTRUCTIONS.format(id=self._id),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
        )

    def _player(self, context: ServerRequestContext[Any, Any]) -> _Player:
        """The session's player. Over HTTP a session has an id; at standard input there is only one."""
        session = ""
        if context.request is not None:
            session = context.request.headers.get(SESSION_ID, "")
            if not session:
                raise MCPError(types.INVALID_REQUEST, "an episode needs a session: begin with `initialize`")
        if session not in self._players:
            for other, player in [*self._players.items()]:
                if time.monotonic() - player.used > IDLE_S:
                    self._forget(other)
            self._players[session] = _Player(self._make, self._seed, self._watcher())
        return self._players[session]

    def _forget(self, session: str) -> None:
        player = self._players.pop(session, None)
        if player is not None:
            player.close()

    async def _list_tools(self, context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self._tools)

    async def _call_tool(
        self, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        name, arguments = params.name, params.arguments or {}
        player = self._player(context)
        if name in (SHOW, NEXT):
            if arguments:
                return _refusal(f"{name} takes no arguments")
            task = await player.do(Episodes.next if name == NEXT else lambda episodes: episodes.task)
            return types.CallToolResult(content=[_text(transcript(task))])
        if name == SAY and (list(arguments) != ["text"] or not isinstance(arguments["text"], str)):
            return _refusal(f'{SAY} takes the argument "text", a string, and no other')

        def play(episodes: Episodes) -> types.CallToolResult:
            step = episodes.say(arguments["text"]) if name == SAY else episodes.call(name, arguments)
            return _result(step, episodes.summary())

        try:
            result: types.CallToolResult = await player.do(play)
        except NoEpisode as over:
            return _refusal(f"{over} Call {NEXT} to begin the next one.")
        return result

    async def _list_prompts(self, context: Any, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(
            prompts=[types.Prompt(name="task", description=f"The task of this episode of {self._id}.")]
        )

    async def _get_prompt(
        self, context: ServerRequestContext[Any, Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult:
        if params.name != "task":
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name!r}: there is `task`")
        task: Chat = await self._player(context).do(lambda episodes: episodes.task)
        # A prompt has no system messages: the user's message carries the text.
        return types.GetPromptResult(
            messages=[
                types.PromptMessage(
                    role="assistant" if message["role"] == "assistant" else "user",
                    content=_text(content_text(message)),
                )
                for message in task
            ]
        )

    async def _list_resources(self, context: Any, params: Any) -> types.ListResourcesResult:
        about = f"The task of this episode of {self._id}, as text."
        state = "The episode as JSON: seed, task, first messages, steps, return, whether it is over, success."
        return types.ListResourcesResult(
            resources=[
                types.Resource(name="task", uri=TASK, description=about, mime_type="text/plain"),
                types.Resource(name="episode", uri=RECORD, description=state, mime_type="application/json"),
            ]
        )

    async def _read_resource(
        self, context: ServerRequestContext[Any, Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        if params.uri not in (TASK, RECORD):
            raise MCPError(
                types.INVALID_PARAMS, f"there is no resource {params.uri!r}: there are {TASK} and {RECORD}"
            )
        record = await self._player(context).do(Episodes.record)
        if params.uri == TASK:
            mime, text = "text/plain", transcript(record["messages"])
        else:
            mime, text = "application/json", json.dumps(record, ensure_ascii=False)
        contents = types.TextResourceContents(uri=params.uri, mime_type=mime, text=text)
        return types.ReadResourceResult(contents=[contents])


async def _discover_sessions(context: ServerRequestContext[Any, Any], params: Any) -> types.DiscoverResult:
    return types.DiscoverResult(
        supported_versions=list(HANDSHAKE_PROTOCOL_VERSIONS), capabilities=types.ServerCapabilities()
    )


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)


def _refusal(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[_text(text)], is_error=True)


def _result(step: Step, summary: str) -> types.CallToolResult:
    """A step as a tool's result. What the environment calls an error is marked as one, without the word."""
    blocks: list[types.ContentBlock] = []
    for message in step.messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            blocks += _block(part)
    first = blocks[0] if blocks else None
    is_error = isinstance(first, types.TextContent) and first.text.startswith("Error: ")
    if isinstance(first, types.TextContent) and is_error:
        blocks[0] = _text(first.text.removeprefix("Error: "))
    if summary:
        blocks.append(_text(f"{summary} {NEXT} begins the next one."))
    told = {key: value for key, value in asdict(step).items() if key != "messages"}
    return types.CallToolResult(content=blocks, is_error=is_error, _meta={STEP: told})


def _block(part: dict[str, Any]) -> list[types.ContentBlock]:
    if url := part_image(part):
        mime, _, data = url.removeprefix("data:").partition(";base64,")
        return [types.ImageContent(data=data, mime_type=mime)]
    text = part_text(part)
    return [] if text is None else [_text(text)]
