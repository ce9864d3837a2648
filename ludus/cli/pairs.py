"""`ludus pairs RUN --out FILE`: preference data from the groups of a run."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.cli.errors import UsageError
from ludus.cli.runs import run_directory


@dataclass(frozen=True)
class Pairs:
    """Make preference pairs of episodes that share a start: in each group, the best against the worst.

    Of a training run its training episodes count, never those of an evaluation.
    """

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
    """A run (its folder, or its name under runs/), a folder of `ludus bench`, or an episode file."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
    """The file to write: .jsonl or .parquet, with TRL's columns."""
    by: Annotated[str, tyro.conf.arg(metavar="NAME")] = "success"
    """What is better: success, reward (the return), or a reward term, such as a grader's."""
    most: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Pairs of one group: the best against the worst, the second best against the second worst, and so on."""
    least_margin: Annotated[float, tyro.conf.arg(metavar="X")] = 0.0
    """Leave out pairs that differ by less."""

    def execute(self) -> int:
        if self.most < 1:
            raise UsageError(
                f"--most {self.most}: a group gives at least one pair, or none that is asked for"
            )
        if not 0 <= self.least_margin < math.inf:
            raise UsageError(f"--least-margin {self.least_margin}: must be 0 or more, and finite")
        if self.out.is_dir() or not self.out.parent.is_dir():
            raise UsageError(f"--out {self.out}: name a file in a folder that exists")
        source = Path(self.source)
        from ludus.tools.errors import DataError
        from ludus.trainers.data.group_pairs import Count, group_pairs
        from ludus.trainers.data.pairs import write_pairs
        from ludus.trainers.data.traces import is_bench_folder

        if not source.is_file() and not is_bench_folder(source):
            source = run_directory(self.source)
        count = Count()
        pairs = [*group_pairs(source, self.by, self.most, self.least_margin, count)]
        told = f"{count.groups:,} groups, {count.alike:,} of them without a difference by {self.by}"
        if count.unusable:
            told += f"; {count.unusable:,} episodes that faulted or were cut off left out"
        if not pairs:
            raise DataError(f"{source}: no pairs in {told}; judge by something else, or play larger groups")
        write_pairs(self.out, pairs)
        print(f"{len(pairs):,} pairs from {told}: {self.out}")
        return 0
