"""Who sits on the other seats of games: pure functions of the step and of what was measured before it, so
that a resumed run draws the same opponents."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import fmean

from ludus.agents.games import SELF, PlayedGame
from ludus.envs.errors import ArgumentError
from ludus.envs.games.environment import GameChat
from ludus.envs.games.player import named
from ludus.trainers.config.opponents import LEAGUE, LeagueSection, OpponentsSection
from ludus.trainers.errors import ConfigError
from ludus.trainers.mixture import Mixture
from ludus.trainers.tasks import Purpose, pick

History = Sequence[Mapping[str, float | str]]

_MEMORY = 0.9
"""By how much a game's result counts less with each later step."""
_EVEN_GAMES = 1.0
"""Games with a member of the league that are taken to have ended even, beside those that were played."""


def members_at(step: int, league: LeagueSection) -> list[int]:
    """The steps after which the members of the league were the policy; 0 is what training began with.

    Args:
        step: How many are done.
        league: How many members there may be.
    """
    members = [0]
    for joined in range(league.every, step + 1, league.every):
        members.append(joined)
        if len(members) > league.size:
            gaps = [after - before for before, after in zip(members, members[2:], strict=False)]
            del members[1 + gaps.index(min(gaps))]
    return members


def given_members(league: LeagueSection) -> dict[str, Path]:
    """The models of `league.folder`, by name.

    Raises:
        ConfigError: there are none.
    """
    if not league.folder:
        return {}
    folder = Path(league.folder)
    weights = ("config.json", "adapter_config.json")
    models = sorted({path.parent for name in weights for path in folder.glob(f"*/{name}")})
    if not models:
        why = "none of its subfolders is one" if folder.is_dir() else "there is no such folder"
        raise ConfigError(
            f'opponents.league.folder = "{folder}" has no models, {why}: give a folder with a model in each '
            "subfolder, or drop it"
        )
    return {f"given-{path.name}": path for path in models}


def opponent_of(
    section: OpponentsSection,
    run_seed: int,
    purpose: Purpose,
    step: int,
    group: int,
    members: Sequence[str],
    history: History,
) -> str:
    """The name of a group's opponent.

    Args:
        section: Who there is.
        run_seed: Of the run.
        purpose: What is played for.
        step: Counted from 0.
        group: Its number in the step.
        members: The league's.
        history: The metrics of the steps before.
    """
    draw = Random(f"{run_seed}/{purpose}/opponents/{step}/{group}")
    names = list(section.weights)
    name = names[pick([section.weights[name] for name in names], draw.random())]
    if name != LEAGUE:
        return name
    if section.league.choice == "uniform":
        return members[pick([1.0] * len(members), draw.random())]
    lost = [1.0 - score_against(member, history) for member in members]
    return members[pick([share**2 for share in lost], draw.random())]


def score_against(opponent: str, history: History) -> float:
    """What the policy lately scored against an opponent in training: 1 for a win, ½ for a draw; between 0 and
    1, neither of them ever."""
    points, games = _EVEN_GAMES / 2, _EVEN_GAMES
    for age, line in enumerate(reversed(history)):
        if played := float(line.get(f"opponents/{opponent}/games", 0.0)):
            weight = played * _MEMORY**age
            points += weight * float(line[f"opponents/{opponent}/score"])
            games += weight
    return points / games


def opponent_metrics(games: Sequence[PlayedGame]) -> dict[str, float]:
    """`opponents/NAME/games` and `…/score` of a step: how many games, and what the policy scored on average;
    against itself the score is that of the first seat. Faults are left out."""
    scores: dict[str, list[float]] = {}
    for game in games:
        if game.score is not None:
            scores.setdefault(game.opponent, []).append(game.score)
    return {
        f"opponents/{name}/{figure}": value
        for name in sorted(scores)
        for figure, value in (("games", float(len(scores[name]))), ("score", fmean(scores[name])))
    }


def refuse_unplayable(mixture: Mixture, section: OpponentsSection) -> None:
    """
    Raises:
        ConfigError: an environment is no game, has no such player, or has one seat where the policy is to
            play several; or the league's folder is empty.
    """
    given_members(section.league)
    for spec in mixture.specs:
        with closing(spec.make()) as env:
            chair = env.unwrapped
            if not isinstance(chair, GameChat):
                raise ConfigError(
                    f"[opponents] are for games, and {spec.id} is none: take a game in words, such as "
                    "ludus/TicTacToeChat-v0, or drop [opponents]"
                )
            for name in section.scripted:
                try:
                    named(chair.game, name, "player")
                except ArgumentError as error:
                    names = f"{SELF} and {LEAGUE} are the others that opponents.weights may name"
                    raise ConfigError(f"[opponents] {spec.id}: {error}; {names}") from None
            if SELF in section.weights and chair.seat != "random":
                raise ConfigError(
                    f'opponents.weights.{SELF} plays all seats, and seat = "{chair.seat}" in the arguments '
                    f'of {spec.id} is one of them: take seat = "random", or drop {SELF}'
                )
