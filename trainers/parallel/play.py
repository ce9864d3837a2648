"""Rollouts dealt out among a team: whole groups, since what a group has in common is computed once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

from ludus.agents.episode import Episode
from ludus.agents.games import PlayedGame, rollout_games
from ludus.agents.rollout import Job, rollout_mixed
from ludus.trainers.parallel.member import Member
from ludus.trainers.parallel.team import Team


@dataclass(frozen=True)
class Rollouts:
    """A member's part of the episodes to play."""

    jobs: Sequence[Job]
    temperature: float
    on_episode: Callable[[Episode], None] | None = None


@dataclass(frozen=True)
class Games:
    """A member's part of the games to play."""

    jobs: Sequence[Job]
    temperature: float
    league: Mapping[str, Path]


@dataclass(frozen=True)
class EngineState:
    """What a member's engine sampled with."""

    weights: int | None
    """Their fingerprint; None where the engine cannot tell."""
    cached_tokens: int
    """Whose keys and values it still had from before the weights changed."""
    stale_episodes: int
    """Episodes that name another version of the weights than it had."""


@dataclass(frozen=True)
class Played:
    """Episodes in the order of their jobs."""

    episodes: list[Episode]
    engines: list[EngineState]


def play(
    team: Team,
    jobs: Sequence[Job],
    temperature: float,
    on_episode: Callable[[Episode], None] | None = None,
) -> Played:
    """An episode for each job, sampled from the team's model as it is now.

    Args:
        on_episode: Told of each: of this process's as they end, of the others' afterwards.
    """
    parts = split_groups(jobs, team.size)
    tasks = [Rollouts(part, temperature) for part in parts]
    played = team.map(_play, [Rollouts(parts[0], temperature, on_episode), *tasks[1:]])
    if on_episode is not None:
        for episodes, _ in played[1:]:
            for episode in episodes:
                on_episode(episode)
    return Played(
        [episode for episodes, _ in played for episode in episodes], [engine for _, engine in played]
    )


def play_games(
    team: Team, jobs: Sequence[Job], temperature: float, league: Mapping[str, Path]
) -> tuple[list[PlayedGame], list[EngineState]]:
    """Games of the team's model as it is now, in the order of the jobs, and what it was sampled with.

    Args:
        league: The models that jobs may name as opponents.
    """
    parts = [Games(part, temperature, league) for part in split_groups(jobs, team.size)]
    played = team.map(_play_games, parts)
    return [*chain.from_iterable(games for games, _ in played)], [engine for _, engine in played]


def split_groups(jobs: Sequence[Job], parts: int) -> list[list[Job]]:
    """The jobs in order, in at most `parts` parts of about the same size, no group in two."""
    split: list[list[Job]] = [[]]
    done = 0
    for _, group in groupby(jobs, key=lambda job: job[1].group):
        members = list(group)
        if split[-1] and (done + len(members) / 2) * parts >= len(jobs) * len(split) and len(split) < parts:
            split.append([])
        split[-1] += members
        done += len(members)
    return split


def _play(member: Member, part: Rollouts) -> tuple[list[Episode], EngineState]:
    sampled_from = _ready(member)
    episodes = rollout_mixed(
        member.player(part.temperature),
        part.jobs,
        member.config.rollout.limits,
        _concurrency(member),
        part.on_episode,
        member.environments,
    )
    return episodes, sampled_from(episodes)


def _play_games(member: Member, part: Games) -> tuple[list[PlayedGame], EngineState]:
    sampled_from = _ready(member)
    asked = {start.opponent for _, start in part.jobs}
    games = rollout_games(
        member.player(part.temperature),
        member.frozen.players(part.league, asked, part.temperature),
        part.jobs,
        member.config.rollout.limits,
        _concurrency(member),
    )
    member.frozen.sleep()
    return games, sampled_from([episode for game in games for episode in game.episodes])


def _concurrency(member: Member) -> int:
    return -(-member.config.rollout.concurrency // member.config.run.workers)


def _ready(member: Member) -> Callable[[Sequence[Episode]], EngineState]:
    """Have the engine sample from the weights as they are. What is returned sends it to sleep afterwards, and
    tells what it sampled with."""
    engine = member.engine
    engine.weights_changed()
    engine.wake()
    weights, cached = engine.weights_fingerprint(), engine.cached_tokens

    def done(episodes: Sequence[Episode]) -> EngineState:
        engine.sleep()
        stale = sum(
            episode.weights_version != engine.weights_version
            for episode in episodes
            if any(turn.completion_ids for turn in episode.turns)
        )
        return EngineState(weights, cached, stale)

    return done
