"""`OpenEnv`: an environment behind `ludus serve openenv`, by OpenEnv's own client; `OpenEnvBack`: by ours."""

import asyncio
import functools
import json
from collections.abc import Mapping
from typing import Any

import gymnasium

from ludus.envs.conformance.surfaces.port import Port
from ludus.envs.conformance.surfaces.surface import DirectSession, Lost, Seen, Session, Surface, make_chat
from ludus.envs.faults import EnvironmentFault
from ludus.envs.openenv.server import WEBSOCKETS, openenv_app  # tells what is missing
from ludus.envs.openenv.words import FAULT

_ERROR, _CODE = "Server error: ", " (code: "
"""Between them, in what the client raises, stands what the environment said."""
PATIENCE_S = 300.0
"""Seconds for an answer: a busy machine makes no difference."""


class OpenEnv(Surface):
    """Environments with the same id and arguments are sessions of one server."""

    name = "OpenEnv"

    def __init__(self) -> None:
        self._ports: dict[str, Port] = {}

    def open(self, id: str, arguments: Mapping[str, Any]) -> Session:
        return _OpenEnvSession(self.url(id, arguments))

    def url(self, id: str, arguments: Mapping[str, Any]) -> str:
        """The address of an environment's server."""
        key = json.dumps([id, arguments], sort_keys=True, default=repr)
        if key not in self._ports:
            app = openenv_app(id, functools.partial(make_chat, id, arguments))
            self._ports[key] = Port(app, **WEBSOCKETS)
        return self._ports[key].url

    def refuses(self, reply: Any) -> str:
        try:
            json.dumps(reply, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "halves of characters: where the environment says them again, they arrive as U+FFFD"
        return ""

    def close(self) -> None:
        for port in self._ports.values():
            port.close()
        self._ports.clear()


class OpenEnvBack(OpenEnv):
    """Behind `ludus serve openenv`, and by `ludus/OpenEnv-v0` an environment again.

    A connection that is lost is made again and the episode brought to where it stood, so there is none whose
    loss could be told.
    """

    name = "OpenEnv and back"
    connects = False

    def open(self, id: str, arguments: Mapping[str, Any]) -> Session:
        url = self.url(id, arguments)
        return DirectSession(gymnasium.make("ludus/OpenEnv-v0", url=url, timeout_s=PATIENCE_S))


class _OpenEnvSession(Session):
    def __init__(self, url: str) -> None:
        from openenv.core import GenericEnvClient

        self._client = GenericEnvClient(
            base_url=url,
            connect_timeout_s=PATIENCE_S,
            message_timeout_s=PATIENCE_S,
            websocket_ping_interval_s=None,
        ).sync()
        self._tools: list[dict[str, Any]] = []

    @property
    def tools(self) -> list[dict[str, Any]]:
        return self._tools

    def reset(self, seed: int) -> Seen:
        result = self._client.reset(seed=seed)
        self._tools = result.observation["tools"]
        return _seen(result)

    def step(self, reply: Any) -> Seen:
        try:
            return _seen(self._client.step({"reply": reply}))
        except RuntimeError as told:
            message = str(told).removeprefix(_ERROR).rpartition(_CODE)[0]
            if message.startswith(FAULT):
                raise EnvironmentFault(message.removeprefix(FAULT)) from told
            raise Lost(message) from told

    def cut(self) -> None:
        socket, loop = self._client.async_client._ws, self._client._loop
        assert socket is not None
        assert loop is not None
        loop.call_soon_threadsafe(socket.transport.abort)
        asyncio.run_coroutine_threadsafe(socket.wait_closed(), loop).result()

    def close(self) -> None:
        self._client.close()


def _seen(result: Any) -> Seen:
    shown = result.observation
    assert result.done == (shown["terminated"] or shown["truncated"])
    return Seen(
        shown["messages"], shown["task"], shown["anchor"], result.reward, shown["reward_terms"],
        shown["terminated"], shown["truncated"], shown["success"],
    )  # fmt: skip
