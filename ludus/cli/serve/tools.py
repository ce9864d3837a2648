"""`ludus serve tools`: the tool services on a real port."""

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

import tyro

from ludus.cli.environments import make, require_services, resolve
from ludus.cli.errors import UsageError
from ludus.cli.options import Arguments, OutputFile
from ludus.cli.serve.access import AccessOptions
from ludus.cli.serve.log import require_log_file
from ludus.cli.values import parse_arguments

if TYPE_CHECKING:
    from socket import socket

    from starlette.types import ASGIApp

    from ludus.tools.services.faults import FaultPlan
    from ludus.tools.services.guard import Access
    from ludus.tools.services.rack import Rack

Share = Annotated[float, tyro.conf.arg(metavar="SHARE")]


@dataclass(frozen=True)
class Faults:
    """Faults to inject, as shares of the calls; together at most 1."""

    seed: int = 0
    """Which calls are hit follows from this seed and the number of the call."""
    slow: Share = 0.0
    """Share of calls whose answer takes 3 seconds."""
    timeout: Share = 0.0
    """Share of calls that get no answer."""
    refused: Share = 0.0
    """Share of calls answered by status 429, with Retry-After."""
    broken: Share = 0.0
    """500."""
    stale: Share = 0.0
    """Share of calls answered from outdated data."""


@dataclass(frozen=True)
class ServeTools(AccessOptions):
    """Serve search, calendar, weather and mail over HTTP, at /search, /calendar, /weather and /mail.

    Mail is served by IMAP and SMTP, too. / describes the services, /health tells whether they run. Each value
    of the header X-Ludus-World has its own world in every service; requests without it share one. Ctrl-C or
    SIGTERM ends. With --env, one task of an environment is played with its services: GET /episode tells it,
    POST /episode/call answers, and the environment judges.
    """

    host: Annotated[str, tyro.conf.arg(metavar="HOST")] = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 8000
    """The port; 0 takes a free one."""
    seed: int = 0
    """Seed of the worlds; with --env, of the first episode."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID", help_behavior_hint="")] = None
    """Serve the world of an environment's task, such as ludus/Calendar-v0."""
    arg: Arguments = ()
    """With --env: a keyword argument for gym.make; the value as in TOML or JSON. May be given several
    times."""
    control: bool = False
    """Let clients steer their worlds, by POST /NAME/_control/reset, snapshot, restore and advance."""
    workers: int = 1
    """Number of processes. With more than one, only /search and /weather are served, because the worlds of
    the others live in the memory of one process."""
    imap_port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 0
    """The port of the mail by IMAP; 0 takes a free one. A login's name is the name of a world, as in
    X-Ludus-World, or the address of the mailbox's owner; the password is the token."""
    smtp_port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 0
    """The port for sending mail by SMTP; 0 takes a free one."""
    log: OutputFile = None
    """Append to this file, which `ludus bench score` reads: with --env every episode, otherwise every call,
    one JSON object a line."""
    faults: Faults = field(default_factory=Faults)

    def execute(self) -> int:
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give a number from 0 on")
        if self.workers < 1 or (self.workers > 1 and self.control):
            raise UsageError(
                f"--workers {self.workers}{' --control' * self.control}: give at least 1, and no more with "
                "--control: a world is steered in one process"
            )
        if self.env is None and self.arg:
            raise UsageError(f"--arg {self.arg[0]} is for an environment: add --env ID")
        if self.env is not None and (self.control or self.workers > 1):
            option = "--control" if self.control else f"--workers {self.workers}"
            raise UsageError(f"{option} with --env: leave it out; an episode is played in one world")
        from ludus.tools.services.faults import FaultPlan

        try:
            plan = FaultPlan(**asdict(self.faults))
        except ValueError as error:
            raise UsageError(f"--faults: {str(error).removeprefix('faults: ')}") from None
        require_log_file(self.log)
        access = self.access(self.host)
        return self._serve_worlds(plan, access) if self.env is None else self._serve_episodes(plan, access)

    def _serve_worlds(self, plan: "FaultPlan", access: "Access") -> int:
        from ludus.tools.services.all import all_on_a_rack
        from ludus.tools.services.call_log import logged
        from ludus.tools.services.guard import guarded
        from ludus.tools.services.serve import address, listen, run

        listening = listen(self.host, self.port)
        rack = partial(all_on_a_rack, self.seed, plan, self.control, self.workers > 1)
        made = rack()
        where = f"{', '.join(f'/{name}' for name in made.names)} at {address(listening)}"
        if self.workers > 1:
            app = rack if self.log is None else partial(logged, rack, self.log)
            run(
                partial(guarded, app, access),
                listening,
                self.workers,
                f"{where} (Ctrl-C ends)",
                lifespan="off",
            )
            return 0
        by_http = guarded(
            (lambda: made) if self.log is None else partial(logged, lambda: made, self.log), access
        )
        self._run(by_http, made, listening, access, where, "")
        return 0

    def _serve_episodes(self, plan: "FaultPlan", access: "Access") -> int:
        """One episode after the other of an environment, and its end."""
        from ludus.envs.assistant.served import EPISODE, EpisodeApp, ServedEpisodes
        from ludus.envs.chat import transcript
        from ludus.envs.mcp.episodes import Watcher
        from ludus.tools.services.guard import guarded
        from ludus.tools.services.rack import Rack
        from ludus.tools.services.serve import address, listen

        assert self.env is not None
        name, arguments = resolve(self.env), parse_arguments(self.arg)
        require_services(name, arguments)
        watcher = Watcher()
        if self.log is not None:
            from ludus.agents.bench.episode_log import EpisodeLog

            watcher = EpisodeLog(self.log, name, arguments).watcher()
        listening = listen(self.host, self.port)
        episodes = ServedEpisodes(lambda: make(name, arguments), self.seed, watcher)
        rack = Rack(episodes.services, plan, most_worlds=1)
        for served in rack.names:
            rack.enter(served, b"")
        where = f"{', '.join(f'/{served}' for served in rack.names)} at {address(listening)}"
        told = f"{name}, seed {self.seed}; GET {EPISODE} tells this task, POST {EPISODE}/call answers:"
        said = f"\n\n{told}\n\n{transcript(episodes.task)}\n"
        app = EpisodeApp(rack, episodes)
        try:
            self._run(guarded(lambda: app, access), rack, listening, access, where, said)
        finally:
            episodes.conclude()
        print(episodes.verdict())
        return 0

    def _run(
        self, app: "ASGIApp", rack: "Rack", listening: "socket", access: "Access", where: str, said: str
    ) -> None:
        """Serve an application until it is told to end, with the mail of its rack by IMAP and SMTP."""
        from ludus.tools.services.serve import address, listen, run

        if "mail" not in rack.names:
            run(lambda: app, listening, 1, f"{where} (Ctrl-C ends){said}", lifespan="off")
            return
        from ludus.tools.services.mail.ports import MailPorts

        imap, smtp = listen(self.host, self.imap_port), listen(self.host, self.smtp_port)
        served = MailPorts(app, rack, imap, smtp, access.token)
        ports = {"IMAP": imap, "SMTP": smtp}
        mail = ", ".join(f"{name} at {address(port).removeprefix('http://')}" for name, port in ports.items())
        run(lambda: served, listening, 1, f"{where} and mail by {mail} (Ctrl-C ends){said}", lifespan="on")
