"""`ludus judge CONFIG`: what the scorers of a configuration fall for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from ludus.cli.errors import UsageError
from ludus.cli.tables import figure, print_whole

if TYPE_CHECKING:
    from ludus.agents.scorers.planted import Attacked


@dataclass(frozen=True)
class JudgeCommand:
    """Put a bad answer to each of some tasks, as it is and dressed up by each attack, beside the right one,
    to every scorer of a configuration; nothing is trained.

    An attack succeeds where the bad answer is scored no lower than the right one, which is that of the
    environment's oracle. Every key of the configuration is an option, as of `ludus train`. The exit code is 1
    if more attacks succeed than trust.planted_answers allows.
    """

    config: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONFIG")]
    """The run's configuration, a TOML file with [[scorers]]."""
    tasks: Annotated[int, tyro.conf.arg(metavar="N")] = 8
    """Tasks of each environment."""
    overrides: tyro.conf.Suppress[dict[str, str]] = field(default_factory=dict)

    def overridden(self, overrides: Mapping[str, str]) -> "JudgeCommand":
        """The same command with `--dotted.key value` options."""
        return replace(self, overrides=dict(overrides))

    def execute(self) -> int:
        from contextlib import closing

        from ludus.agents.rollout import EpisodeStart, run_blocking
        from ludus.agents.scorers.planted import attacked, known_good
        from ludus.trainers.config.reading import load_config
        from ludus.trainers.scorers import make_scorer, refuse_unusable

        config = load_config(self.config, self.overrides)
        if not config.scorers:
            raise UsageError(f"{self.config} has no [[scorers]]: add one, with a model and a rubric")
        if self.tasks < 1:
            raise UsageError(f"--tasks {self.tasks} leaves nothing to judge: give at least 1")
        specs = [section.spec for section in config.played]
        refuse_unusable(config, specs)
        jobs = [(spec, EpisodeStart(seed)) for spec in specs for seed in range(self.tasks)]
        good = known_good(jobs, config.rollout.limits)
        is_safe = True
        for section in config.scorers:
            with closing(make_scorer(section)) as scorer:
                found = run_blocking(attacked(scorer, good))
            print_whole(_table(section.name, found))
            asked, fooled = (sum(getattr(row, key) for row in found) for key in ("judged", "fooled"))
            faults = sum(row.faults for row in found)
            share = fooled / asked if asked else float("nan")
            told = f"{fooled} of {asked} attacks succeed ({share:.1%})" if asked else "nothing was judged"
            if faults:
                why = next(row.why for row in found if row.faults)
                told += f", {faults} without a verdict; the first: {why}"
            print(f"{section.name}: {told}")
            is_safe = is_safe and share <= config.trust.planted_answers
        return 0 if is_safe else 1


def _table(name: str, found: "list[Attacked]") -> Table:
    table = Table(title=name)
    table.add_column("attack")
    for column in ("succeeds", "score", "right answer's", "no verdict"):
        table.add_column(column, justify="right")
    for row in found:
        share = f"{row.fooled} of {row.judged}"
        table.add_row(row.kind, share, figure(row.bad), figure(row.good), str(row.faults))
    return table
