"""How strong the policy is while it trains: games with scripted players, whose strength stays the same, and
with the members of its league."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean

from ludus.agents.games import PlayedGame, rollout_games
from ludus.agents.match import GamePlayer
from ludus.agents.ratings import SeedPair, rate
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, Job
from ludus.envs.games.environment import SEATS
from ludus.trainers.config.opponents import OpponentsSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.mixture import Mixture
from ludus.trainers.parallel.play import play_games
from ludus.trainers.parallel.team import Team

FIRST_SEED = 2**62
"""Of the games: above those of training, of evaluation and of validation."""
ANCHOR_PAIRS = 200
"""Pairs of games between two anchors, from which their ratings follow."""

_POLICY = "the policy"


@dataclass(frozen=True)
class Rater:
    """Rates what the team's model is at `evaluation.temperature`."""

    team: Team
    mixture: Mixture
    config: RunConfig

    def measure(self, step: int, league: Mapping[str, Path]) -> dict[str, float]:
        """The metrics of a measurement after a step (counted from 0), if one is due, else none.

        Of each game `rating/GAME/elo`, with the ends of its 95% interval, `…/elo_low` and `…/elo_high`, by
        the games with the anchors, and what was scored against each anchor and each member of the league,
        `…/score/NAME`.

        Args:
            league: The members, by name.
        """
        section = self.config.opponents
        assert section is not None
        if not is_due(step, section, self.config.grpo.steps):
            return {}
        metrics: dict[str, float] = {}
        anchors = section.rating.anchors
        for member in self.mixture.members:
            jobs = paired_jobs(member.specs[0], [*anchors, *league], section.rating.pairs)
            games, _ = play_games(self.team, jobs, self.config.evaluation.temperature, league)
            pairs = seed_pairs(games, _POLICY)
            name = f"rating/{member.name}"
            if rated := [pair for pair in pairs if pair.players[1] in anchors]:
                elo = rate(rated, self._anchors[member.name])[_POLICY].elo
                metrics |= {
                    f"{name}/elo": elo.value,
                    f"{name}/elo_low": elo.low,
                    f"{name}/elo_high": elo.high,
                }
            scores: dict[str, list[float]] = {}
            for pair in pairs:
                scores.setdefault(pair.players[1], []).append(pair.points / 2)
            metrics |= {f"{name}/score/{other}": fmean(values) for other, values in scores.items()}
        return metrics

    @cached_property
    def _anchors(self) -> dict[str, dict[str, float]]:
        """The ratings of each game's anchors."""
        assert self.config.opponents is not None
        anchors = self.config.opponents.rating.anchors
        return {member.name: anchor_ratings(member.specs[0], anchors) for member in self.mixture.members}


def is_due(step: int, section: OpponentsSection, steps: int) -> bool:
    """Whether a measurement follows a step, counted from 0."""
    every = section.rating.every
    return bool(every) and (step == 0 or (step + 1) % every == 0 or step + 1 == steps)


def anchor_ratings(spec: EnvironmentSpec, anchors: Sequence[str]) -> dict[str, float]:
    """In Elo points, from games with each other; the first anchor's is 0."""
    if len(anchors) == 1:
        return {anchors[0]: 0.0}
    ratings = rate(anchor_pairs(spec, anchors), {anchors[0]: 0.0}, resamples=0)
    return {name: ratings[name].elo.value for name in anchors}


def anchor_pairs(spec: EnvironmentSpec, anchors: Sequence[str]) -> list[SeedPair]:
    """The games of each anchor with each other one."""
    return [
        pair
        for one, other in combinations(anchors, 2)
        for pair in seed_pairs(
            rollout_games(GamePlayer(one), {}, paired_jobs(spec, [other], ANCHOR_PAIRS)), one
        )
    ]


def paired_jobs(spec: EnvironmentSpec, opponents: Sequence[str], pairs: int) -> list[Job]:
    """Games with each opponent, two with each seed, from either seat."""
    seats = [EnvironmentSpec(spec.id, {**spec.arguments, "seat": seat}) for seat in SEATS[:2]]
    return [
        (seat, EpisodeStart(FIRST_SEED + number, group=number, opponent=opponent))
        for opponent in opponents
        for number in range(pairs)
        for seat in seats
    ]


def seed_pairs(games: Sequence[PlayedGame], name: str) -> list[SeedPair]:
    """What `paired_jobs` led to, without pairs of which a game broke off.

    Args:
        games: In their order.
        name: The player's whose games they are.
    """
    return [
        SeedPair((name, one.opponent), number, one.score + other.score)
        for number, (one, other) in enumerate(zip(games[::2], games[1::2], strict=True))
        if one.score is not None and other.score is not None
    ]
