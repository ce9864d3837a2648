"""`ludus bench SUITE`: a model's results on frozen tasks, with intervals, beside chance and the oracle."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from ludus.agents.engines.options import SERVED_MAX_TOKENS
from ludus.cli.environments import resolve
from ludus.cli.errors import INCOMPLETE, UsageError
from ludus.cli.models import ModelChoice, choose_model
from ludus.cli.options import Arguments, OutputFolder
from ludus.cli.runs import RUNS, slug
from ludus.cli.server import Server, ServerFlags
from ludus.cli.values import parse_arguments

MAX_TOKENS = 1024
"""The most tokens in one reply of a model that does not come from a run."""


@dataclass(frozen=True)
class Bench:
    """Measure a model, or a scripted agent, on frozen tasks, beside the null, random and oracle agents.

    If a run was interrupted or killed, the same command continues it: no finished episode is played twice.
    `ludus bench compare A B` compares two runs. The exit code is 3 if more than 2% of the episodes have no
    score, because something broke or the server refused them; the results are written all the same.
    """

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SUITE", help_behavior_hint="")]
    """math, grids, tools, code, all; or environments by their ids, separated by commas."""
    model: Annotated[str, tyro.conf.arg(metavar="URL|PATH|scripted:NAME", help_behavior_hint="")]
    """An OpenAI-compatible server (http://localhost:8000/v1, followed by #NAME if it has several models), a
    run or a model's folder, or a scripted agent such as scripted:oracle."""
    n: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="", aliases=("-n",))] = None
    """Tasks per environment. Default: all frozen ones."""
    repeats: int = 1
    """Episodes per task: the k of pass@k, pass^k and maj@k."""
    arg: Arguments = ()
    """A keyword argument for the environments that take it; the value as in TOML or JSON. May be given
    several times. An environment named by its id has the arguments that the model's run was trained with."""
    agent: str = "direct"
    """How the model is used: direct, react, … (docs/agents.md)."""
    temperature: float = 0.0
    """Sampling temperature of the model; 0 takes the likeliest token."""
    seed: int = 0
    """Seed of the model's or the agent's own randomness; the tasks stay the same."""
    shard: Annotated[str | None, tyro.conf.arg(metavar="I/N", help_behavior_hint="")] = None
    """Play only the I-th of N shares of the tasks, say on another machine; `ludus bench merge` joins them."""
    prices: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """A TOML file of prices, with US dollars for a million tokens: ["MODEL"] input = 0.1, output = 0.5, and
    cached if it differs."""
    out: OutputFolder = None
    """The run's folder. Default: runs/bench/SUITE-MODEL, followed by the agent if it is not direct."""
    server: Server = field(default_factory=ServerFlags)

    def execute(self) -> int:
        self._refuse()
        suite, modules = _imported(self.suite)
        flags = self.server
        choice: ModelChoice | None = None

        from ludus.agents.bench.player import PlayerChoice

        player = PlayerChoice(
            self.model,
            self.agent,
            self.temperature,
            flags.max_tokens or SERVED_MAX_TOKENS,
            self.seed,
            flags.system,
            flags.written_calls,
            server=flags.options(),
        )
        if not player.is_served:
            flags.refuse_for(self.model)
        if not player.is_scripted and not player.is_served:
            choice = choose_model(self.model)
            limit = flags.max_tokens or (choice.max_tokens if choice.trained else MAX_TOKENS)
            player = replace(player, model=choice.path, max_tokens=limit, engine=choice.engine)

        from ludus.agents.bench.directory import BenchError
        from ludus.agents.bench.prices import read_prices
        from ludus.agents.bench.run import Plan, bench
        from ludus.agents.bench.tasks import Shard
        from ludus.cli.bench.progress import watch
        from ludus.cli.bench.table import print_outcome
        from ludus.report.bench.page import write_bench_report

        agent = "" if self.agent == "direct" else f"-{slug(self.agent)}"
        shard = None if self.shard is None else Shard.read(self.shard)
        share = "" if shard is None else f"-{shard.number}-of-{shard.count}"
        path = self.out or RUNS / "bench" / f"{slug(suite)}-{slug(player.shown)}{agent}{share}"
        prices = None if self.prices is None else read_prices(self.prices)
        plan = Plan(
            suite,
            player,
            self.n,
            self.repeats,
            flags.concurrency,
            shard=shard,
            prices=prices,
            arguments=parse_arguments(self.arg),
            trained=() if choice is None else choice.trained,
            modules=modules,
        )
        try:
            with watch(suite) as listener:
                outcome = bench(plan, path, listener)
        except (KeyboardInterrupt, OSError, RuntimeError) as interruption:
            interruption.add_note(_how_to_go_on(path))
            raise
        except BenchError:  # of another run: its episodes are not this one's
            raise
        except Exception as problem:
            if (path / "bench.json").exists() and getattr(problem, "exit_code", 0) == 1:
                problem.add_note(_how_to_go_on(path))
            raise
        print_outcome(outcome)
        print(f"report: {write_bench_report(outcome)}")
        return INCOMPLETE if outcome.is_incomplete else 0

    def _refuse(self) -> None:
        """
        Raises:
            UsageError: an option has a value that cannot work.
        """
        for name, value in (("n", self.n), ("repeats", self.repeats)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: must be at least 1")
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"--temperature {self.temperature}: must be 0 (greedy) or more, and finite")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: must be 0 or more")
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise UsageError(f"--out {self.out} is a file: name a folder")


def _imported(suite: str) -> tuple[str, tuple[str, ...]]:
    """The suite with `module:ID` imported and written as ID, and the modules."""
    words, modules = [], []
    for word in (part.strip() for part in suite.split(",") if part.strip()):
        module, colon, _ = word.rpartition(":")
        words.append(resolve(word) if colon else word)
        modules += [module] if colon else []
    return ",".join(words), tuple(modules)


def _how_to_go_on(path: Path) -> str:
    journal = path / "journal.jsonl"
    if not journal.exists() or not journal.stat().st_size:
        return "nothing had been played yet"
    return f"what was played is kept in {path}: the same command again goes on from there"
