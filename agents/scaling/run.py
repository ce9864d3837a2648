"""A measurement from beginning to end: play and score what is missing, keep it as it comes, reduce it to
curves."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium

from ludus.agents.bench.run import FEWEST_FAULTS
from ludus.agents.engines.options import ServerListener
from ludus.agents.episode import Episode, StopReason
from ludus.agents.identity import begin, has_begun
from ludus.agents.journal import Journal
from ludus.agents.policy import Player, Policy, derive_seed
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout, run_blocking
from ludus.agents.scaling.curves import Outcomes, outcomes
from ludus.agents.scaling.methods import REWARD, Revision, Search
from ludus.agents.scaling.revision import Revising, attempt
from ludus.agents.scaling.trials import POOL, Record, Scored, Trial, encode, read_record
from ludus.agents.scorers.base import Score, ScoreFault, Scorer
from ludus.tools.errors import UserError

SETTINGS, TRIALS = "scaling.json", "trials.jsonl"
_BATCH = 64
"""At least so many episodes are given to a scorer at once, of whole tasks, whose samples it may compare."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The identity of a measurement. All of it must match to continue in its folder, which may grow by more
    tasks, samples and methods."""

    environment: str
    arguments: Mapping[str, Any]
    model: str
    """In a form that is safe to record."""
    temperature: float
    max_tokens: int
    seed: int
    """Of the first task, and of the model's randomness."""
    options: Mapping[str, Any]
    """How the model is asked."""
    ludus: str
    """Version of Ludus."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to play of what."""

    tasks: int
    samples: int
    """Of each task, as the model is."""
    repeats: int = 1
    """Of each search and each revision on a task."""
    searches: tuple[Search, ...] = ()
    revisions: tuple[Revision, ...] = ()
    concurrency: int = 64


class Listener(ServerListener):
    """What a measurement reports to whoever watches; every method may be overridden."""

    def begun(self, method: str, done: int, total: int) -> None:
        """A method begins, of which so much is there already."""

    def played(self, method: str, episode: Episode) -> None:
        """An episode has ended and is kept."""

    def scored(self, method: str, count: int) -> None:
        """So many episodes were scored and kept."""


def scaling(
    settings: Settings,
    plan: Plan,
    folder: Path,
    model: Callable[[], Policy],
    scorers: Mapping[str, Scorer] | None = None,
    listener: Listener | None = None,
) -> list[Outcomes]:
    """Play and score what the folder lacks, and reduce all to success and tokens by task.

    What ended in a fault is played again, what was refused never.

    Args:
        settings: What is measured.
        plan: How much of it.
        folder: Where everything is kept; made, or continued.
        model: Makes the policy; called once, if anything is to be played.
        scorers: By name: each chooses the best of the samples, and guides the searches that name it.
        listener: Is told how it goes.

    Raises:
        UserError: the folder holds something else, a search names a scorer that is not there, or the model or
            a scorer cannot be used or no longer answers. What was played is kept.
    """
    listener, scorers = listener or Listener(), scorers or {}
    for search in plan.searches:
        if search.by not in (REWARD, *scorers):
            raise UserError(
                f"{search.kind}-{search.size} goes by {search.by!r}, which is no scorer: name {REWARD!r} or "
                f"one of {', '.join(scorers) or 'none'}"
            )
    policy = _Once(model)
    if not has_begun(folder / SETTINGS, settings, "measurement"):
        policy.made  # noqa: B018 (before anything is written)
        begin(folder / SETTINGS, settings)
    with Journal(folder / TRIALS, "trials") as journal:
        if damage := journal.mend():
            listener.note(damage)
        run = _Run(settings, plan, read_record(folder / TRIALS), journal, policy, scorers, listener)
        run.all()
    tasks = range(settings.seed, settings.seed + plan.tasks)
    return outcomes(
        run.record, tasks, plan.samples, [*run.scorers], plan.searches, plan.revisions, plan.repeats
    )


@dataclass
class _Once:
    """The model, made when it is needed first: a finished measurement loads none."""

    make: Callable[[], Policy]

    @cached_property
    def made(self) -> Policy:
        return self.make()


@dataclass
class _Run:
    settings: Settings
    plan: Plan
    record: Record
    journal: Journal
    policy: _Once
    scorers: Mapping[str, Scorer]
    listener: Listener
    streak: int = 0
    """How many of the last episodes the model did not answer."""

    def all(self) -> None:
        plan = self.plan
        self._play(POOL, lambda: self.policy.made, self._starts(plan.samples))
        for name in self.scorers:
            run_blocking(self._score(name))
        for search in plan.searches:
            self._play(search.name, partial(self._metered, search), self._starts(plan.repeats))
        for revision in plan.revisions:
            latest = POOL
            for number in range(1, revision.times + 1):
                self._revise(revision, number, latest)
                latest = revision.name(number)

    def _metered(self, search: Search) -> "_Metered":
        return _Metered(search, self.policy.made, self.scorers)

    def _starts(self, count: int) -> list[EpisodeStart]:
        """Task by task, so that an engine reads the beginning that samples share only once."""
        tasks, first = range(self.plan.tasks), self.settings.seed
        return [EpisodeStart(first + task, task, sample) for task in tasks for sample in range(count)]

    def _revise(self, revision: Revision, number: int, latest: str) -> None:
        """Revise the latest attempts: all, or with feedback those that failed."""
        chains = min(self.plan.repeats, self.plan.samples)
        earlier, starts = {}, []
        for start in self._starts(chains):
            trial = self.record.trials.get((latest, start.seed, start.sample))
            if trial is None or not trial.episode.is_scored or (revision.feedback and trial.episode.success):
                continue
            earlier[derive_seed(start.seed, start.sample)] = attempt(trial.episode, revision.feedback)
            starts.append(start)
        self._play(revision.name(number), lambda: Revising(self.policy.made, number, earlier), starts)

    def _play(self, method: str, make: Callable[[], Policy], starts: Sequence[EpisodeStart]) -> None:
        trials = self.record.trials
        there = [trials.get((method, start.seed, start.sample)) for start in starts]
        missing = [
            start
            for start, trial in zip(starts, there, strict=True)
            if trial is None or trial.episode.is_fault
        ]
        self.listener.begun(method, len(starts) - len(missing), len(starts))
        if not missing:
            return
        policy = make()

        def keep(episode: Episode) -> None:
            judged = policy.spent_on(episode) if isinstance(policy, _Metered) else 0
            self._keep(Trial(method, episode, judged))
            self.listener.played(method, episode)
            self.streak = self.streak + 1 if episode.stop == StopReason.ENGINE_FAULT else 0
            if self.streak >= max(FEWEST_FAULTS, min(self.plan.concurrency, len(missing))):
                raise UserError(
                    f"{self.settings.model} no longer answers; the last of {self.streak} faults: "
                    f"{episode.fault}"
                )

        spec = EnvironmentSpec(self.settings.environment, dict(self.settings.arguments))
        rollout(policy, spec, missing, concurrency=self.plan.concurrency, on_episode=keep)

    async def _score(self, name: str) -> None:
        places = [(POOL, start.seed, start.sample) for start in self._starts(self.plan.samples)]
        wanted = [self.record.trials[place].episode for place in places]
        wanted = [episode for episode in wanted if episode.is_scored]
        missing = [
            episode for episode in wanted if (name, episode.seed, episode.sample) not in self.record.scores
        ]
        method = f"scores by {name}"
        self.listener.begun(method, len(wanted) - len(missing), len(wanted))
        spoken = [episode for episode in missing if episode.turns]
        faults = ["nothing was said in it"] * (len(missing) - len(spoken))
        for batch in _batches(spoken):
            for episode, score in zip(batch, await self.scorers[name].score(batch), strict=True):
                if isinstance(score, ScoreFault):
                    faults.append(score.why)
                else:
                    tokens = tokens_of(score, episode)
                    self._keep(Scored(name, episode.seed, episode.sample, score.value, tokens))
            self.listener.scored(method, len(batch))
        if faults and len(faults) == len(missing):
            raise UserError(f"the scorer {name} scored nothing: {faults[-1]}")
        if faults:
            self.listener.note(
                f"the scorer {name} left out {len(faults)} of {len(wanted)} episodes ({faults[-1]}); the "
                "same command asks it again"
            )

    def _keep(self, entry: Trial | Scored) -> None:
        self.journal.append(encode(entry))
        self.record.add(entry)


def _batches(episodes: Sequence[Episode]) -> Iterator[list[Episode]]:
    batch: list[Episode] = []
    for _, of_task in groupby(episodes, key=lambda episode: episode.seed):
        batch += of_task
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def tokens_of(score: Score, episode: Episode) -> int:
    """What a score cost: as the scorer tells, or the conversation, which was read once."""
    if (told := score.details.get("tokens")) is not None:
        return int(told)
    if rows := episode.training_sequences():
        return sum(len(row.ids) for row in rows)
    last = episode.turns[-1:]
    return sum(turn.prompt_tokens + turn.completion_tokens for turn in last)


@dataclass
class _Meter:
    """A scorer that counts the tokens of what it gives."""

    scorer: Scorer
    tokens: int = 0

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        scores = await self.scorer.score(episodes)
        for score, episode in zip(scores, episodes, strict=True):
            self.tokens += tokens_of(score, episode) if isinstance(score, Score) else 0
        return scores

    def close(self) -> None:
        """The scorer is not its own."""


@dataclass
class _Metered:
    """A search, made anew for each episode, so that what its scorers spend is counted by episode."""

    search: Search
    model: Policy
    scorers: Mapping[str, Scorer]
    meters: dict[int, Iterable[_Meter]] = field(default_factory=dict)
    """By the seed of the episode's player."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> Player:
        meters = {name: _Meter(scorer) for name, scorer in self.scorers.items()}
        self.meters[seed] = meters.values()
        return self.search.policy(self.model, meters).player(env, seed)

    def spent_on(self, episode: Episode) -> int:
        meters = self.meters.pop(derive_seed(episode.seed, episode.sample), ())
        return sum(meter.tokens for meter in meters)
