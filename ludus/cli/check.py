"""`ludus check ID`: the conformance suite."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from ludus.cli.environments import make, require_chat, resolve
from ludus.cli.options import Arguments, EnvironmentId
from ludus.cli.values import parse_arguments


@dataclass(frozen=True)
class Check:
    """Run the conformance suite on an environment: one of Ludus', or your own as module:ID.

    The scripted agents must score as expected (null about 0, oracle 1, cheaters about 0), and seeding,
    malformed replies, snapshots, limits and spaces must hold. Exits with 1 when a check fails.
    """

    id: EnvironmentId
    """The environment, such as ludus/Arithmetic-v0 or my_package.envs:mine/Guess-v0."""
    arg: Arguments = ()
    """A keyword argument for gym.make; the value as in TOML or JSON. May be given several times."""
    surface: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME", help_behavior_hint=""),
    ] = ()
    """In place of the checks, play it directly and through a surface, and compare all that is seen: copies,
    mcp, openenv, trl, verifiers. May be given several times."""

    def execute(self) -> int:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from ludus.envs.conformance import check

        arguments = parse_arguments(self.arg)
        if self.surface:
            return self._through(arguments)
        make(self.id, arguments).close()
        report = check(resolve(self.id), **arguments)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("")
        table.add_column("check", no_wrap=True)
        table.add_column("what was found", ratio=1, overflow="fold")
        for outcome in report.checks:
            mark = Text("ok", style="green") if outcome.passed else Text("FAILED", style="bold red")
            table.add_row(mark, outcome.name, Text(outcome.detail))
        console = Console()
        console.print(table)
        failed = len(report.failures)
        verdict = f"{failed} of {len(report.checks)} checks failed" if failed else "conforms"
        console.print(f"{report.environment}: {verdict}", style="bold red" if failed else "bold green")
        return 0 if report.passed else 1

    def _through(self, arguments: Mapping[str, Any]) -> int:
        from ludus.envs.conformance.surfaces import compare
        from ludus.envs.conformance.surfaces.all import surface

        env = make(self.id, arguments)
        require_chat(env)
        env.close()
        different = False
        for name in self.surface:
            through = surface(name)
            try:
                found = compare(through, resolve(self.id), **arguments)
            finally:
                through.close()
            print(found)
            different |= not found.same
        return int(different)
