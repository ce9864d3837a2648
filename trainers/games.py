"""A training step in games: against whom its groups are played, and what of them is measured."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ludus.agents.episode import Episode
from ludus.agents.games import PlayedGame, seats_of_policy
from ludus.agents.rollout import EpisodeStart, Job
from ludus.trainers.advantages.role import role_metrics, role_of
from ludus.trainers.batches.groups import Group
from ludus.trainers.config.run import RunConfig
from ludus.trainers.opponents import History, opponent_metrics, opponent_of
from ludus.trainers.parallel.play import EngineState, play_games
from ludus.trainers.parallel.team import Team
from ludus.trainers.tasks import TaskStream


def game_player(
    team: Team,
    tasks: TaskStream,
    chances: Mapping[str, Sequence[float]],
    config: RunConfig,
    step: int,
    history: History,
    league: Mapping[str, Path],
    engines: list[EngineState],
    games: list[PlayedGame],
) -> Callable[[int, int], list[Episode]]:
    """Plays the next tasks, `group_size` games from each against an opponent of `[opponents]`, until there
    are enough groups, of which games against itself give one for each seat.

    Args:
        chances: Of each environment's levels; see `level_chances`.
        history: The metrics of the steps before.
        league: The members, by name.
        engines: Gets what the episodes were sampled with.
        games: Gets the games.
    """

    def play(groups: int, first_group: int) -> list[Episode]:
        assert config.opponents is not None
        jobs: list[Job] = []
        start, owed = first_group, groups
        while owed > 0:
            opponent = opponent_of(config.opponents, config.run.seed, "grpo", step, start, [*league], history)
            (task,) = tasks.take(1, chances, step, start)
            jobs += [
                (task.spec, EpisodeStart(task.seed, group=start, sample=sample, opponent=opponent))
                for sample in range(config.grpo.group_size)
            ]
            start, owed = start + 1, owed - seats_of_policy(opponent)
        played, sampled_with = play_games(team, jobs, config.rollout.temperature, league)
        engines.extend(sampled_with)
        games.extend(played)
        return [episode for game in played for episode in game.episodes]

    return play


def game_metrics(games: Sequence[PlayedGame], groups: Sequence[Group]) -> dict[str, float]:
    """What was scored against each opponent, and earned from each seat; empty without games."""
    if not games:
        return {}
    roles = [role_of(episode) for group in groups for episode in group.episodes]
    trajectories = [trajectory for group in groups for trajectory in group.trajectories]
    return {**opponent_metrics(games), **role_metrics(roles, trajectories)}
