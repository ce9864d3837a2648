"""`openenv_app`: OpenEnv's server around a chat environment."""

from functools import partial
from typing import Any

from ludus.envs.openenv.installed import require_openenv

try:
    from openenv.core.env_server.http_server import create_app
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.types import ASGIApp
    from starlette.websockets import WebSocket

    from ludus.envs.openenv.environment import Make, NoEpisode, ServedChat
    from ludus.envs.openenv.models import ChatObservation, EpisodeState, ReplyAction, StartObservation
except ImportError:
    require_openenv()
    raise

SESSIONS = 256
"""How many sessions there may be at a time, unless told otherwise."""

WEBSOCKETS: dict[str, Any] = {
    "ws": "websockets-sansio",
    # A client whose event loop waits for its model answers no pings meanwhile, and is not gone for that.
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 1800.0,
    # Over a fast network, packing costs more than it saves.
    "ws_per_message_deflate": False,
    "ws_max_size": 2**26,
}
"""Options of `uvicorn.Config` with which the application is served."""

_NO_MCP = "tools are called by replies here: `ludus serve mcp` speaks MCP"


def openenv_app(id: str, make: Make, about: str = "", sessions: int = SESSIONS) -> ASGIApp:
    """OpenEnv's application for an environment. A session is a WebSocket at `/ws`, with an instance of its
    own, which is closed with it; the server never ends one for being idle.

    Args:
        id: the environment's id.
        make: makes it.
        about: the page on it, in Markdown.
        sessions: how many there may be at a time; a client beyond is told so.

    Raises:
        UserError: OpenEnv is of another version.
    """
    require_openenv()
    app = create_app(
        partial(ServedChat, id, make, about),
        ReplyAction,
        ChatObservation,
        env_name=id,
        max_concurrent_envs=sessions,
        state_cls=EpisodeState,
        reset_observation_cls=StartObservation,
        mode="simulation",
    )
    app.add_exception_handler(NoEpisode, _conflict)
    # OpenEnv's own would open sessions by POST, which nothing closes when their client is gone.
    app.router.routes[:0] = [Route("/mcp", _no_mcp, methods=["POST"]), WebSocketRoute("/mcp", _refuse)]
    return app


async def _conflict(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=409)


async def _no_mcp(request: Request) -> Response:
    return JSONResponse({"jsonrpc": "2.0", "error": {"code": -32601, "message": _NO_MCP}, "id": None})


async def _refuse(socket: WebSocket) -> None:
    await socket.close(1008, _NO_MCP)
