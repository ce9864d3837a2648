"""Models that score training episodes: their scores become a term of the reward, under guard."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from statistics import fmean

from ludus.agents.episode import Episode, StopReason
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, Job, Limits, run_blocking
from ludus.agents.scorers.base import Score, ScoreFault, Scorer
from ludus.agents.scorers.config import make_judge, make_reward_model
from ludus.agents.scorers.planted import (
    ORACLE,
    Plant,
    attack,
    is_misjudged,
    known_good,
    tell_apart,
    transplant,
)
from ludus.tools.judging.attacks import ATTACKS
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.scorers import SUCCESS, ScorerSection
from ludus.trainers.config.values import nearest
from ludus.trainers.errors import ConfigError

Play = Callable[[int, int], list[Episode]]


@dataclass
class Term:
    """A scorer as a term of the reward, and what it did in a step."""

    section: ScorerSection
    scorer: Scorer
    seconds: float = 0.0
    values: list[float] = field(default_factory=list)
    """What it gave, before the gate."""
    faults: int = 0
    misjudged: list[bool] = field(default_factory=list)
    """Of the planted answers."""

    def score(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with the term, in their last turn; those without a score are faults.

        Raises:
            UserError: the scorer cannot be used.
        """
        section = self.section
        whole = [i for i, episode in enumerate(episodes) if episode.is_scored and episode.turns]
        gates = {i: gate(section, episodes[i]) for i in whole}
        asked = [i for i in whole if gates[i]]
        scores = run_blocking(self.scorer.score([episodes[i] for i in asked])) if asked else []
        found = dict(zip(asked, map(finite, scores), strict=True))
        scored = list(episodes)
        for i in whole:
            given = found.get(i, Score(0.0))
            if isinstance(given, ScoreFault):
                scored[i] = replace(episodes[i], stop=StopReason.SCORER_FAULT, success=False, fault=given.why)
            else:
                scored[i] = rewarded(episodes[i], section, given.value * gates[i])
        self.values += [given.value for given in found.values() if isinstance(given, Score)]
        self.faults += sum(isinstance(given, ScoreFault) for given in found.values())
        return scored

    def tell_apart(self, plants: Sequence[Plant]) -> None:
        """Put the planted answers to the scorer."""
        told = run_blocking(tell_apart(self.scorer, plants))
        self.misjudged += [is_misjudged(*scores) for scores in told if not isinstance(scores, ScoreFault)]

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if asked := len(self.values) + self.faults:
            found["faults"] = self.faults / asked
        if self.values:
            found["score"] = fmean(self.values)
        if self.misjudged:
            found["misjudged"] = fmean(self.misjudged)
        name = self.section.name
        rated = {f"scorers/{name}/{figure}": value for figure, value in found.items()}
        return {**rated, f"seconds/scorers/{name}": self.seconds}


class Scorers:
    """The scorers of a run; without any, nothing is changed.

    Raises:
        UserError: one of them cannot be used.
    """

    def __init__(self, config: RunConfig) -> None:
        self._limits = config.rollout.limits
        self._terms = [Term(section, make_scorer(section)) for section in config.scorers]

    def close(self) -> None:
        for term in self._terms:
            term.scorer.close()

    def scoring(self, play: Play, step: int) -> Play:
        """Plays the same episodes, and scores them; with the first ones of a step, planted answers."""
        self._terms = [Term(term.section, term.scorer) for term in self._terms]

        def scored(groups: int, first_group: int) -> list[Episode]:
            episodes = play(groups, first_group)
            for term in self._terms:
                began = time.perf_counter()
                episodes = term.score(episodes)
                if term.section.planted and not first_group:
                    term.tell_apart(plants(term.section, episodes, step, self._limits))
                term.seconds += time.perf_counter() - began
            return episodes

        return scored

    @property
    def seconds(self) -> float:
        """Of all scorers in the step so far."""
        return sum(term.seconds for term in self._terms)

    def metrics(self) -> dict[str, float]:
        """Of the step so far: of each scorer the mean score before the gate, the share of episodes that it
        could not score, the share of planted bad answers that it scored no lower than good ones, and its
        seconds."""
        return {name: value for term in self._terms for name, value in term.metrics().items()}


def make_scorer(section: ScorerSection) -> Scorer:
    """
    Raises:
        UserError: its model cannot be found, or its server cannot be used.
    """
    if section.reward_model is not None:
        return make_reward_model(section.reward_model)
    assert section.judge is not None
    return make_judge(section.judge)


def refuse_unusable(config: RunConfig, specs: Sequence[EnvironmentSpec]) -> None:
    """
    Raises:
        ConfigError: a scorer is called as a term of an environment, a gate or what is held beside it is none,
            or answers should be planted where no oracle knows good ones.
    """
    for spec in specs if config.scorers else ():
        with closing(spec.make()) as env:
            terms = [*getattr(getattr(env.unwrapped, "rubric", None), "weights", ())]
            has_oracle = ORACLE in getattr(env.unwrapped, "scripted", {})
        others = [section.name for section in config.scorers]
        for section in config.scorers:
            about = f"scorers: {section.name}"
            if section.name in terms:
                raise ConfigError(f"{about} is a reward term of {spec.id} already; give it another name")
            for key, known in (("gate", [SUCCESS, *terms]), ("beside", [SUCCESS, *terms, *others])):
                if (named := getattr(section, key)) and named not in known:
                    raise ConfigError(
                        f'{about}.{key} = "{named}" is nothing that {spec.id} earns{nearest(named, known)}'
                    )
            if section.planted and not has_oracle:
                raise ConfigError(
                    f"{about} is tried with answers of the environment's oracle, and {spec.id} has none; "
                    "write one, or set planted = 0"
                )


def gate(section: ScorerSection, episode: Episode) -> float:
    """What multiplies an episode's score, from 0 to 1."""
    if section.gate in ("", SUCCESS):
        return float(episode.success or not section.gate)
    return min(1.0, max(0.0, episode.reward_terms().get(section.gate, 0.0)))


def finite(score: Score | ScoreFault) -> Score | ScoreFault:
    """A score that is no number is a fault."""
    if isinstance(score, ScoreFault) or math.isfinite(score.value):
        return score
    return ScoreFault(f"the scorer gave {score.value}")


def rewarded(episode: Episode, section: ScorerSection, value: float) -> Episode:
    """The episode with a term more, earned in its last turn."""
    *earlier, last = episode.turns
    terms = {**last.reward_terms, section.name: value}
    last = replace(last, reward=last.reward + section.weight * value, reward_terms=terms)
    return replace(episode, turns=(*earlier, last))


def plants(section: ScorerSection, episodes: Sequence[Episode], step: int, limits: Limits) -> list[Plant]:
    """A step's planted answers, to tasks of its episodes: by turns an attack, and the reply to another task
    that the scorer liked best. Attacks follow one another from step to step."""
    starts = {episode.group: episode for episode in reversed(episodes)}
    jobs: list[Job] = [
        (EnvironmentSpec(start.environment, start.arguments), EpisodeStart(start.seed))
        for start in [*starts.values()][-section.planted :]
    ]
    liked = max(
        (episode for episode in episodes if episode.is_scored and episode.turns),
        key=lambda episode: episode.reward_terms()[section.name],
        default=None,
    )
    planted = []
    for number, good in enumerate(known_good(jobs, limits), step * section.planted):
        moved = transplant(good, liked) if number % 2 and liked is not None else None
        planted.append(moved or attack(good, [*ATTACKS][number // 2 % len(ATTACKS)]))
    return planted
