"""`ludus plan CONFIG`: the memory of a run, before it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from ludus.cli.tables import print_whole

if TYPE_CHECKING:
    from ludus.trainers.plan.plan import MemoryPlan


@dataclass(frozen=True)
class Plan:
    """The memory that a run takes in each of its phases, by part, and what fits: nothing is trained.

    The code of the run is run once on models without numbers, with rows as long as they may become. Every key
    of the configuration is an option, as of `ludus train`. The exit code is 1 if the run does not fit.
    """

    config: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONFIG")]
    """The run's configuration, a TOML file."""
    memory: Annotated[str | None, tyro.conf.arg(metavar="AMOUNT", help_behavior_hint="")] = None
    """What there is, such as 24GiB. Default: what is free on this machine, or on its GPU."""
    overrides: tyro.conf.Suppress[dict[str, str]] = field(default_factory=dict)

    def overridden(self, overrides: Mapping[str, str]) -> "Plan":
        """The same command with `--dotted.key value` options."""
        return replace(self, overrides=dict(overrides))

    def execute(self) -> int:
        from ludus.trainers.config.reading import load_config
        from ludus.trainers.plan.memory import free_bytes, mebibytes, read_amount

        config = load_config(self.config, self.overrides)
        memory = None if self.memory is None else read_amount(self.memory)
        if memory is None:
            memory = free_bytes(config.model.device)

        from ludus.trainers.plan.fit import largest_batch, longest_context, remedies
        from ludus.trainers.plan.plan import plan, work_of

        work = work_of(config)
        planned = plan(config, work)
        print_whole(table_of(planned))
        needed = planned.run.total
        there = f"{mebibytes(memory)} MiB {'free' if self.memory is None else 'given'}"
        if not config.model.device.startswith("cpu"):
            print("The memory of the GPU, without what its driver takes; not measured on one yet.")
        if needed > memory:
            print(f"does not fit: {mebibytes(needed)} MiB, {there}. Switch on, one after another:")
            for remedy in remedies(config, work, memory):
                fits = "fits" if remedy.peak <= memory else "does not fit yet"
                print(f"  {remedy.settings}: {mebibytes(remedy.peak)} MiB, {fits}")
            return 1
        print(f"fits: {mebibytes(needed)} MiB, {there}")
        tokens, is_whole = largest_batch(config, work, memory)
        whole = ", which is all tokens of a step" if is_whole else ""
        print(f"largest microbatch_tokens: {tokens:,}{whole}")
        print(f"longest rows: {longest_context(config, work, memory):,} tokens")
        return 0


def table_of(planned: "MemoryPlan") -> Table:
    """Parts by phases, in MiB."""
    from ludus.trainers.plan.memory import mebibytes

    table = Table(title="MiB")
    table.add_column("")
    columns = (*planned.phases, planned.run)
    for phase in columns:
        table.add_column(phase.name, justify="right")
    for part in dict.fromkeys(part for phase in columns for part in phase.parts):
        table.add_row(part, *(mebibytes(phase.parts.get(part, 0)) for phase in columns))
    table.add_section()
    table.add_row("total", *(mebibytes(phase.total) for phase in columns))
    return table
