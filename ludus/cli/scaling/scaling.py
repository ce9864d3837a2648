"""`ludus scaling ENV --model MODEL`: success against the tokens that ways of using the model spend."""

import math
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import gymnasium
import tyro

from ludus.agents.choose import SCRIPTED, URLS
from ludus.cli.environments import make, resolve
from ludus.cli.errors import INCOMPLETE, UsageError
from ludus.cli.models import ModelChoice, arguments_for, choose_model, model_policy
from ludus.cli.options import Arguments, EnvironmentId, OutputFolder
from ludus.cli.runs import RUNS, slug
from ludus.cli.server import Server, ServerFlags
from ludus.cli.values import parse_arguments

if TYPE_CHECKING:
    from ludus.agents.policy import Policy
    from ludus.agents.scaling.methods import Search
    from ludus.agents.scorers.base import Scorer

_UNSCORED = 0.02
"""A larger share of tasks that do not count makes a measurement incomplete."""


@dataclass(frozen=True)
class Scaling:
    """One figure: success against tokens, for single samples, majority vote, best of n, beam search, Monte
    Carlo tree search and sequential revision.

    If it was interrupted or killed, the same command continues it; so does one with more tasks, samples or
    methods. The exit code is 3 if more than 2% of the tasks do not count, since something of them has no
    score.
    """

    id: EnvironmentId
    """The environment, such as ludus/Arithmetic-v0."""
    model: Annotated[str, tyro.conf.arg(metavar="URL|PATH|RUN", help_behavior_hint="")]
    """An OpenAI-compatible server (http://localhost:8000/v1, followed by #NAME if it has several models), a
    run, a model's folder, or a name on the hub."""
    arg: Arguments = ()
    """A keyword argument for gym.make; the value as in TOML or JSON. May be given several times."""
    tasks: int = 64
    """How many tasks."""
    samples: int = 16
    """Of each task: from them come single samples, majority vote and best of n, for every number up to it."""
    repeats: int = 1
    """How often each search and each revision is played on a task."""
    beam: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT …", help_behavior_hint="")] = (2, 4)
    """Widths of beam searches, each with as many samples of every state. Without a number: none."""
    mcts: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT …", help_behavior_hint="")] = (8, 32)
    """Simulations before each action of tree searches. Without a number: none."""
    over: Literal["auto", "turns", "steps"] = "auto"
    """What an action of a search is: a turn, or a step of a reply, as the process model has them, a line
    without one. auto: a step where an episode has one turn."""
    revisions: int = 3
    """How often a reply is revised: once by a plain request, once by the environment's feedback. 0: never."""
    outcome: Annotated[str | None, tyro.conf.arg(metavar="RUN|PATH", help_behavior_hint="")] = None
    """An outcome reward model: chooses the best of n."""
    process: Annotated[str | None, tyro.conf.arg(metavar="RUN|PATH", help_behavior_hint="")] = None
    """A process reward model: chooses the best of n, and guides the searches."""
    temperature: float = 1.0
    """Sampling temperature of the model."""
    seed: int = 2**32
    """Seed of the first task; training uses those below 2**32 only."""
    out: OutputFolder = None
    """The measurement's folder. Default: runs/scaling/ENV-MODEL."""
    server: Server = field(default_factory=ServerFlags)

    def execute(self) -> int:
        self._refuse()
        name, choice, flags = resolve(self.id), choose_model(self.model), self.server
        arguments = arguments_for(name, parse_arguments(self.arg), choice)
        env = make(name, arguments)

        from ludus.agents.bench.player import PlayerChoice
        from ludus.agents.scaling.curves import curves
        from ludus.agents.scaling.methods import Revision
        from ludus.agents.scaling.run import Plan, Settings, scaling
        from ludus.cli.scaling.progress import watch
        from ludus.cli.scaling.table import print_curves
        from ludus.report.scaling.page import write_scaling_report

        options = flags.options()
        player = PlayerChoice(
            choice.path, system=flags.system, written_calls=flags.written_calls, server=options
        )
        settings = Settings(
            name,
            arguments,
            player.shown,
            self.temperature,
            flags.max_tokens or choice.max_tokens,
            self.seed,
            player.recorded(),
            version("ludus"),
        )
        scorers, separator = self._scorers()
        searches, notes = self._searches(env, choice, separator)
        can_revise = self.revisions > 0 and not choice.path.startswith(SCRIPTED)
        plan = Plan(
            self.tasks,
            self.samples,
            self.repeats,
            tuple(searches),
            tuple(Revision(feedback, self.revisions) for feedback in (False, True) if can_revise),
            flags.concurrency,
        )
        folder = self.out or RUNS / "scaling" / slug(f"{name}-{player.shown}")
        try:
            with watch() as listener:

                def model() -> "Policy":
                    return model_policy(env, choice, self.seed, self.temperature, flags, listener=listener)

                drawn = curves(scaling(settings, plan, folder, model, scorers, listener))
        except KeyboardInterrupt as interruption:
            interruption.add_note(f"what was played is kept in {folder}: the same command goes on from there")
            raise
        finally:
            env.close()
        names = {curve.name for curve in drawn}
        wanted = [*(one.curve for one in searches), *(one.curve for one in plan.revisions)]
        missing = [name for name in dict.fromkeys(wanted) if name not in names]
        notes += [f"{name} is missing: on no task did all of it get a score" for name in missing]
        counted = 0 if missing else min((curve.tasks for curve in drawn), default=0)
        if counted < self.tasks:
            notes.append(
                f"{self.tasks - counted} of {self.tasks} tasks do not count for every curve, since something "
                "of them has no score; the same command plays again what broke"
            )
        print_curves(drawn, f"{name} · {player.shown}", notes)
        print(f"report: {write_scaling_report(settings, plan, drawn, folder, notes)}")
        return INCOMPLETE if self.tasks - counted > _UNSCORED * self.tasks else 0

    def _refuse(self) -> None:
        """
        Raises:
            UsageError: an option has a value that cannot work.
        """
        for name, value, least in (
            ("tasks", self.tasks, 1),
            ("samples", self.samples, 1),
            ("repeats", self.repeats, 1),
            ("revisions", self.revisions, 0),
            ("seed", self.seed, 0),
            ("beam", min(self.beam, default=1), 1),
            ("mcts", min(self.mcts, default=1), 1),
        ):
            if value < least:
                raise UsageError(f"--{name} {value}: must be at least {least}")
        if not 0 < self.temperature < math.inf:
            raise UsageError(
                f"--temperature {self.temperature}: must be more than 0, since at 0 all samples are the "
                "same, and finite"
            )
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise UsageError(f"--out {self.out} is a file: name a folder")

    def _scorers(self) -> "tuple[dict[str, Scorer], str]":
        """The reward models, by the names that their curves have, and what ends a step of a reply.

        Raises:
            UsageError: a reward model is of the other kind.
            ModelLoadError: there is no reward model at a path.
        """
        found: dict[str, Scorer] = {}
        separator = "\n"
        for kind, given in (("outcome", self.outcome), ("process", self.process)):
            if given is None:
                continue
            from ludus.agents.reward_model import load_reward_model
            from ludus.agents.scorers.base import Cached
            from ludus.agents.scorers.reward_model import RewardModelScorer

            model = load_reward_model(_reward_folder(given))
            if (model.separator is None) != (kind == "outcome"):
                other = "process" if kind == "outcome" else "outcome"
                raise UsageError(
                    f"--{kind} {given} is a reward model of the other kind: give it as --{other}"
                )
            found[_named(kind, given)] = Cached(RewardModelScorer(model))
            if model.separator is not None:
                separator = model.separator
        return found, separator

    def _searches(
        self, env: gymnasium.Env, choice: ModelChoice, separator: str
    ) -> "tuple[list[Search], list[str]]":
        """The searches that this environment and this model allow, and notes on those left out."""
        from ludus.agents.scaling.methods import REWARD, Search

        wanted = {"beam search": self.beam, "tree search": self.mcts}
        asked = " and ".join(name for name, sizes in wanted.items() if sizes)
        if not asked:
            return [], []
        if choice.path.startswith(SCRIPTED):
            return [], [f"{asked} left out: {choice.path} cannot be continued in several ways"]
        if not hasattr(env.unwrapped, "snapshot"):
            return [], [f"{asked} left out: {self.id} cannot be copied, which needs snapshot() and restore()"]
        is_one_turn = getattr(env.unwrapped, "max_turns", 0) == 1
        if self.over == "turns" or (self.over == "auto" and not is_one_turn):
            separator = ""
        if separator and choice.path.startswith(URLS):
            why = "a server's chat interface cannot be stopped within a reply"
            return [], [f"{asked} over steps left out: {why}; --over turns searches over turns"]
        guides = [] if self.process is None else [_named("process", self.process)]
        beams, trees = sorted({*self.beam}), sorted({*self.mcts})
        found = [Search("beam", size, by, separator) for by in guides for size in beams]
        found += [Search("mcts", size, by, separator) for by in (*guides, REWARD) for size in trees]
        if not separator:
            return found + [Search("beam", size, REWARD) for size in beams], []
        if beams and not guides:
            return found, ["beam search left out: a reply earns nothing before it is whole; give --process"]
        return found, []


def _named(kind: str, given: str) -> str:
    return f"{kind} model {given}"


def _reward_folder(given: str) -> str:
    """Of a run, by its folder or its name, the reward model that it trained; else the folder or name
    itself."""
    from ludus.trainers.run.directory import reward_folder

    runs = (reward_folder(run) for run in (Path(given), RUNS / given))
    return next((str(folder) for folder in runs if folder.is_dir()), given)
