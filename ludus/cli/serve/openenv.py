"""`ludus serve openenv ID`: an environment for OpenEnv's clients."""

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import tyro

from ludus.cli.environments import environment_class, make, require_chat, resolve
from ludus.cli.errors import UsageError
from ludus.cli.options import Arguments, EnvironmentId
from ludus.cli.serve.access import AccessOptions
from ludus.cli.values import parse_arguments


@dataclass(frozen=True)
class ServeOpenEnv(AccessOptions):
    """Serve an environment in OpenEnv's protocol, for its clients and whatever trains with them.

    Each WebSocket at /ws is a session with an instance of its own. A reset takes a seed, a step a reply:
    {"reply": "a text"}, or {"reply": {an assistant message with tool_calls}}. Ctrl-C or SIGTERM ends.
    """

    id: EnvironmentId
    """The environment, such as ludus/Weather-v0."""
    arg: Arguments = ()
    """A keyword argument for gym.make; the value as in TOML or JSON. May be given several times."""
    host: Annotated[str, tyro.conf.arg(metavar="HOST")] = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 8000
    """The port; 0 takes a free one."""
    sessions: int = 256
    """How many sessions each process has at a time; a client beyond is told that there is no room."""
    workers: int = 1
    """Number of processes."""

    def execute(self) -> int:
        for name in ("sessions", "workers"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: give at least 1")
        name, arguments = resolve(self.id), parse_arguments(self.arg)
        env = make(self.id, arguments)
        require_chat(env)
        env.close()
        from ludus.envs.openenv.server import WEBSOCKETS, openenv_app
        from ludus.tools.services.guard import guarded
        from ludus.tools.services.serve import address, listen, run

        access = self.access(self.host)
        listening = listen(self.host, self.port)
        about = inspect.getdoc(environment_class(name)) or ""
        served = partial(openenv_app, name, partial(make, self.id, arguments), about, self.sessions)
        run(
            partial(guarded, served, access),
            listening,
            self.workers,
            f"{name} at {address(listening)} (Ctrl-C ends)",
            **WEBSOCKETS,
        )
        return 0
