"""`ludus serve tools`: the tool services on a real port."""

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated

import tyro

from ludus.cli.errors import UsageError
from ludus.cli.options import OutputFile
from ludus.cli.serve.access import AccessOptions

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
    SIGTERM ends.
    """

    host: Annotated[str, tyro.conf.arg(metavar="HOST")] = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, tyro.conf.arg(metavar="PORT")] = 8000
    """The port; 0 takes a free one."""
    seed: int = 0
    """Seed of the worlds."""
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
    """Append every call to this file, one JSON object a line, which `ludus bench score` sums up by world."""
    faults: Faults = field(default_factory=Faults)

    def execute(self) -> int:
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give a number from 0 on")
        if self.workers < 1 or (self.workers > 1 and self.control):
            raise UsageError(
                f"--workers {self.workers}{' --control' * self.control}: give at least 1, and no more with "
                "--control: a world is steered in one process"
            )
        from ludus.tools.services.all import all_on_a_rack
        from ludus.tools.services.call_log import logged
        from ludus.tools.services.faults import FaultPlan
        from ludus.tools.services.guard import guarded
        from ludus.tools.services.serve import address, listen, run

        try:
            plan = FaultPlan(**asdict(self.faults))
        except ValueError as error:
            raise UsageError(f"--faults: {str(error).removeprefix('faults: ')}") from None
        if self.log is not None and not self.log.absolute().parent.is_dir():
            raise UsageError(f"--log {self.log}: name a file in a folder that exists")
        access = self.access(self.host)
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
        from ludus.tools.services.mail.ports import MailPorts

        imap, smtp = listen(self.host, self.imap_port), listen(self.host, self.smtp_port)
        by_http = guarded(
            (lambda: made) if self.log is None else partial(logged, lambda: made, self.log), access
        )
        served = MailPorts(by_http, made, imap, smtp, access.token)
        ports = {"IMAP": imap, "SMTP": smtp}
        mail = ", ".join(f"{name} at {address(port).removeprefix('http://')}" for name, port in ports.items())
        run(lambda: served, listening, 1, f"{where} and mail by {mail} (Ctrl-C ends)", lifespan="on")
        return 0
