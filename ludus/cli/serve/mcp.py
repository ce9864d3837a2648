"""`ludus serve mcp ID`: an environment's tools for any MCP client."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ludus.cli.environments import make, require_chat, resolve
from ludus.cli.errors import UsageError
from ludus.cli.options import Arguments, EnvironmentId, OutputFile
from ludus.cli.serve.access import AccessOptions
from ludus.cli.serve.log import require_log_file
from ludus.cli.values import parse_arguments


@dataclass(frozen=True)
class ServeMcp(AccessOptions):
    """Serve an environment's tools over the Model Context Protocol, one episode at a time in each session.

    The task is available as the prompt and the resource `task`, and from the tool episode_task. Every call is
    a step; the call that ends the episode reports its outcome, and episode_next begins the next one.
    """

    id: EnvironmentId
    """The environment, such as ludus/Weather-v0."""
    arg: Arguments = ()
    """A keyword argument for gym.make; the value as in TOML or JSON. May be given several times."""
    seed: int = 0
    """Seed of a session's first episode; the next ones have the seeds after it."""
    log: OutputFile = None
    """Append every episode to this file, which `ludus bench score` reads. With --seed 8589934592 the episodes
    are the benchmark's own tasks."""
    transport: Literal["stdio", "http"] = "stdio"
    """stdio: standard input and output, for a client that starts this command. http: the transport
    "streamable HTTP" at /mcp, for any number of clients."""
    host: Annotated[str | None, tyro.conf.arg(metavar="HOST")] = None
    """For http: the address to listen on. Default: 127.0.0.1."""
    port: Annotated[int | None, tyro.conf.arg(metavar="PORT")] = None
    """For http: the port; 0 takes a free one. Default: 8000."""

    def execute(self) -> int:
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give a number from 0 on")
        require_log_file(self.log)
        for name in ("host", "port", "token", "allow_host", "allow_origin"):
            if self.transport == "stdio" and getattr(self, name) not in (None, "", ()):
                raise UsageError(f"--{name.replace('_', '-')} is for HTTP: add --transport http")
        # Standard output belongs to the protocol, whatever the environment's modules print.
        with contextlib.redirect_stdout(sys.stderr):
            from ludus.envs.mcp.episodes import Watcher
            from ludus.envs.mcp.server import environment_server

            name, arguments = resolve(self.id), parse_arguments(self.arg)
            env = make(name, arguments)
            require_chat(env)
            env.close()
            watcher: Callable[[], Watcher] = Watcher
            if self.log is not None:
                from ludus.agents.bench.episode_log import EpisodeLog

                watcher = EpisodeLog(self.log, name, arguments).watcher
            server = environment_server(name, lambda: make(name, arguments), self.seed, watcher)
        if self.transport == "stdio":
            if sys.stdin.isatty():
                print("Waiting for MCP messages on standard input; Ctrl-C ends.", file=sys.stderr)
            asyncio.run(server.run_stdio())
            return 0

        from ludus.tools.services.guard import guarded
        from ludus.tools.services.serve import address, listen, run

        host = self.host or "127.0.0.1"
        access = self.access(host)
        listening = listen(host, 8000 if self.port is None else self.port)
        announcement = f"{name} at {address(listening)}/mcp (Ctrl-C ends)"
        try:
            run(lambda: guarded(server.http_app, access), listening, announcement=announcement)
        finally:
            server.close()
        return 0
