"""`ludus sandbox check`: attack a sandbox, and inspect this machine."""

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class SandboxCheck:
    """Attack a sandbox with the whole conformance suite.

    After each attack this machine is inspected: processes, mounts, files, descriptors, connections. Attacks
    that could harm it are tried only if the sandbox claims to withstand them. Exits with 1 if any attack
    succeeds.
    """

    backend: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """process, docker or subprocess. Default: the value of LUDUS_SANDBOX, else process."""
    only: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME", help_behavior_hint="")
    ] = ()
    """A topic or an attack to try instead of all. May be given several times."""

    def execute(self) -> int:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from ludus.tools.sandbox.backends import backend_name
        from ludus.tools.sandbox.conformance import check

        console = Console()
        with console.status("attacking") as status:
            report = check(
                backend_name(self.backend),
                only=self.only,
                on_outcome=lambda outcome: status.update(f"{outcome.topic}: {outcome.attack}"),
            )
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        table.add_column("attack", ratio=3)
        table.add_column("expected", ratio=2)
        table.add_column("got", no_wrap=True)
        table.add_column("what is wrong", ratio=4)
        topic = ""
        for outcome in report.outcomes:
            if outcome.topic != topic:
                topic = outcome.topic
                table.add_row("", Text(topic, style="bold"))
            mark = Text("ok", style="green") if outcome.passed else Text("FAILED", style="bold red")
            words = (outcome.attack, outcome.expected, outcome.got, outcome.detail)
            table.add_row(mark, *map(Text, words))
        console.print(table)
        style = "bold green" if report.passed else "bold red"
        console.print(Text(f"{report.backend}: {report.summary}", style=style))
        return 0 if report.passed else 1
