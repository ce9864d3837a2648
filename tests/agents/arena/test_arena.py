"""Arenas: played once, resumed, faults for nobody, and what the standings say."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from ludus.agents.arena.folder import GAMES, ArenaError, Game, Settings, read_games
from ludus.agents.arena.run import Contestant, Listener, arena, total_games
from ludus.agents.arena.schedule import Fixture
from ludus.agents.arena.standings import anchors_for, published_anchors, seed_pairs, standings
from ludus.agents.engines.base import EngineFault
from ludus.agents.match import GamePlayer
from ludus.agents.policy import Action, Policy
from ludus.tools.errors import UserError

GAME = "TicTacToe"


@dataclass
class Mortal:
    """A model that plays as it is told, says nonsense first in every game, and dies in one of its games."""

    dies_in: int = 0
    """Of its games, counted from 1; 0: in none; -1: in all."""
    games: int = 0
    closed: int = 0

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "_Life":
        self.games += 1
        return _Life(self, self.dies_in in (-1, self.games))


@dataclass
class _Life:
    policy: Mortal
    dies: bool
    said: list[str] = field(default_factory=list)

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        await asyncio.sleep(0)
        moves = observation[-1]["content"].splitlines()[-1].removeprefix("Moves: ").split(", ")
        if self.dies and len(self.said) == 2:
            raise EngineFault("the server is gone")
        self.said.append("hm" if not self.said else f"<action>{moves[0]}</action>")
        return Action(reply=self.said[-1])

    def close(self) -> None:
        self.policy.closed += 1


@dataclass
class Heard(Listener):
    played_games: list[Game] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def played(self, game: Game) -> None:
        self.played_games.append(game)

    def note(self, text: str) -> None:
        self.notes.append(text)


def settings_of(*players: str, games: int = 4, schedule: str = "round-robin", **more: Any) -> Settings:
    abouts = {name: f"model-{name}" if name == "mortal" else f"scripted:{name}" for name in players}
    return Settings(more.pop("game", GAME), abouts, games, schedule, 0, 3, None, **more)


def contestants(settings: Settings, mortal: Policy | None = None) -> list[Contestant]:
    def one(name: str) -> Contestant:
        return Contestant(name, lambda: mortal or Mortal() if name == "mortal" else GamePlayer(name))

    return [one(name) for name in settings.players]


def test_every_game_is_played_once_with_the_seats_swapped(tmp_path: Path) -> None:
    settings = settings_of("random", "minimax:1", "oracle")
    heard = Heard()
    games = arena(settings, contestants(settings), tmp_path / "a", listener=heard)
    assert len(games) == len(heard.played_games) == total_games(settings) == 12
    assert read_games(tmp_path / "a") == games
    for fixture, game in games.items():
        other = games[Fixture(fixture.second, fixture.first, fixture.number)]
        assert other.seed == game.seed
    again = Heard()
    assert arena(settings, [], tmp_path / "a", listener=again) == games
    assert again.played_games == []


def test_games_do_not_depend_on_how_many_are_played_at_once_nor_on_the_order_of_players(
    tmp_path: Path,
) -> None:
    def plies(settings: Settings, concurrency: int) -> dict[Fixture, Any]:
        folder = tmp_path / f"{concurrency}"
        games = arena(settings, contestants(settings), folder, concurrency)
        return {fixture: game.plies for fixture, game in games.items()}

    one = plies(settings_of("random", "minimax:1", "mortal"), 1)
    assert one == plies(settings_of("mortal", "minimax:1", "random"), 7)


def test_a_killed_arena_goes_on_and_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    settings = settings_of("random", "minimax:1")
    whole = arena(settings, contestants(settings), tmp_path / "whole")
    arena(settings, contestants(settings), tmp_path / "killed", concurrency=1)
    file = tmp_path / "killed" / GAMES
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    heard = Heard()
    games = arena(settings, contestants(settings), tmp_path / "killed", listener=heard)
    assert len(heard.played_games) == len(lines) - 2
    assert "30 bytes of an unfinished line were cut off" in heard.notes[0]
    assert "2 games are whole" in heard.notes[0]
    clean = {fixture: replace(game, seconds=0.0) for fixture, game in games.items()}
    assert clean == {fixture: replace(game, seconds=0.0) for fixture, game in whole.items()}


def test_a_model_that_dies_in_a_game_is_a_fault_rated_for_nobody_and_played_again(tmp_path: Path) -> None:
    settings = settings_of("random", "mortal", games=6)
    games = arena(settings, contestants(settings, Mortal(dies_in=2)), tmp_path, concurrency=1)
    (fault,) = [game for game in games.values() if game.ending == "fault"]
    assert fault.culprit == "mortal"
    assert fault.outcome is None
    assert fault.fault == "the server is gone"
    assert len(seed_pairs(settings, games.values())) == 2
    found = standings(settings, games, resamples=50)
    mortal = next(line for line in found.lines if line.name == "mortal")
    assert (mortal.faults, mortal.games, mortal.malformed) == (1, 5, 6)
    assert mortal.rating is not None
    assert mortal.rating.games == 4
    assert any("1 of 6 games ended in a fault" in note for note in found.notes)

    heard = Heard()
    games = arena(settings, contestants(settings), tmp_path, listener=heard)
    assert [game.fixture for game in heard.played_games] == [fault.fixture]
    assert len(seed_pairs(settings, games.values())) == 3


def test_a_model_that_is_gone_ends_the_arena_and_what_was_played_is_kept(tmp_path: Path) -> None:
    settings = settings_of("random", "mortal", games=20)
    with pytest.raises(UserError, match="mortal no longer answers; the last of 8 faults: the server is gone"):
        arena(settings, contestants(settings, Mortal(dies_in=-1)), tmp_path, concurrency=2)
    games = read_games(tmp_path)
    assert len(games) >= 8
    found = standings(settings, games, resamples=50)
    assert found.notes[0].startswith("nobody can be rated")
    assert [line.rating for line in found.lines] == [None, None]
    json.dumps(found.to_json(), allow_nan=False)


def test_forfeits_and_time_outs_are_told_apart(tmp_path: Path) -> None:
    @dataclass
    class Mute(Mortal):
        def player(self, env: gymnasium.Env[Any, Any], seed: int) -> Any:
            self.games += 1
            return _Mute(self.games % 2 == 0)

    @dataclass
    class _Mute:
        sleeps: bool

        async def act(self, observation: Any, info: dict[str, Any]) -> Action:
            await asyncio.sleep(30 if self.sleeps else 0)
            return Action(reply="?")

        def close(self) -> None:
            pass

    settings = replace(settings_of("random", "mortal"), reply_seconds=0.05)
    found = standings(settings, arena(settings, contestants(settings, Mute()), tmp_path, 1), resamples=50)
    mute = next(line for line in found.lines if line.name == "mortal")
    assert (mute.forfeits, mute.time_outs, mute.faults, mute.losses) == (2, 2, 0, 4)
    assert mute.malformed == 6


def test_standings_of_poker_have_payoffs_and_exploitability(tmp_path: Path) -> None:
    settings = settings_of("honest", "oracle", games=20, game="KuhnPoker")
    found = standings(settings, arena(settings, contestants(settings), tmp_path), resamples=50)
    values = {line.name: line.exploitability for line in found.lines}
    assert values["honest"] == pytest.approx(0.25)
    assert values["oracle"] == pytest.approx(0.0, abs=1e-12)
    first, second = (found.meetings[two] for two in (("honest", "oracle"), ("oracle", "honest")))
    assert first.payoff == pytest.approx(-second.payoff)
    assert first.points + second.points == pytest.approx(20)
    assert found.first_seat.value == pytest.approx(sum(line.as_first for line in found.lines) / 2)


def test_games_that_repeat_themselves_are_told(tmp_path: Path) -> None:
    settings = settings_of("grim", "tit-for-tat", games=8, game="PrisonersDilemma")
    found = standings(settings, arena(settings, contestants(settings), tmp_path), resamples=50)
    assert any("games repeat themselves: 1 different ones among 4" in note for note in found.notes)


def test_a_swiss_arena_rates_all_and_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = settings_of("random", "minimax:1", "minimax:3", "oracle", "oracle:50", schedule="swiss")
    games = arena(settings, contestants(settings), tmp_path)
    assert len(games) == total_games(settings) == 3 * 2 * 4
    found = standings(settings, games, resamples=50)
    assert all(line.rating is not None for line in found.lines)
    assert arena(settings, [], tmp_path) == games


def test_scripted_players_are_anchors_beside_models_only() -> None:
    published = published_anchors()[GAME]
    assert published["random"] == 0
    assert anchors_for(settings_of("random", "oracle")) == {"random": 0.0}
    held = anchors_for(settings_of("random", "oracle", "mortal"))
    assert held == {name: published[name] for name in ("random", "oracle")}
    assert anchors_for(settings_of("random", "mortal", game="Nim", arguments={"heaps": 2})) == {"random": 0.0}
    assert anchors_for(settings_of("oracle", "minimax:1")) == {}


def test_a_folder_of_another_arena_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = settings_of("random", "oracle", games=2)
    arena(settings, contestants(settings), tmp_path)
    other = replace(settings, games=4, seed=1)
    with pytest.raises(ArenaError, match=r"games 2, not 4; seed 0, not 1\): repeat its settings"):
        arena(other, contestants(other), tmp_path)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes").touch()
    with pytest.raises(ArenaError, match="is not empty and no arena's folder"):
        arena(settings, contestants(settings), tmp_path / "else")
    (tmp_path / "arena.json").write_text("{")
    with pytest.raises(ArenaError, match="is damaged"):
        arena(settings, contestants(settings), tmp_path)


def test_what_is_no_arena_is_refused(tmp_path: Path) -> None:
    for settings, message in (
        (settings_of("random"), "at least two players"),
        (settings_of("random", "oracle", games=3), "an even number"),
        (settings_of("random", "oracle", game="Chess"), "Chess"),
    ):
        with pytest.raises(UserError, match=message):
            arena(settings, [], tmp_path / "none")
    assert not (tmp_path / "none").exists()
