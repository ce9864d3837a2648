"""An environment server of OpenEnv (`pip install openenv-core uvloop httptools`), for `tool_server.py`.

    python openenv_server.py PORT

Its environment does next to nothing, so that only the serving is measured: an action with a text, and an
observation with a text as long as a search result. It runs in its own environment.
"""

import sys
from typing import Any

import uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class Ask(Action):
    text: str


class Told(Observation):
    text: str


class Echo(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State(episode_id="x", step_count=0)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Told:
        return Told(text="begun")

    def step(self, action: Ask, timeout_s: float | None = None, **_: Any) -> Told:
        return Told(text=action.text * 20, reward=0.0)

    async def reset_async(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Told:
        return self.reset()

    async def step_async(self, action: Ask, timeout_s: float | None = None, **_: Any) -> Told:
        return self.step(action)

    @property
    def state(self) -> State:
        return self._state


app = create_fastapi_app(Echo, Ask, Told, max_concurrent_envs=64)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
