"""The scripted players of every game against each other, and their ratings, which anchor those of models.

    python benchmarks/arena.py [GAME …]

Everybody plays everybody, with `random` held at 0. In games that are won or lost, players of growing
strength must come out in that order, each told apart from the next by a 95% interval. In poker, where a
good player may win little from a bad one, they must be the less exploitable. Prints a table for each game
and writes its entry of `benchmarks/results/arena.json`, its ratings in `agents/arena/anchors.json`, and of
ConnectFour the report, `docs/reports/arena.html`. The exit code is 1 if an order is not as expected.
"""

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import machine

from ludus.agents.arena.folder import Settings
from ludus.agents.arena.run import Contestant, arena
from ludus.agents.arena.standings import Line, Standings, standings
from ludus.agents.choose import SCRIPTED
from ludus.agents.match import GamePlayer
from ludus.cli.arena.table import print_standings
from ludus.envs.games import GAMES, make_game
from ludus.report.arena.page import render

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "arena.json"
ANCHORS = ROOT / "agents" / "arena" / "anchors.json"
REPORT = ROOT / "docs" / "reports" / "arena.html"
REPORTED = "ConnectFour"
MEETING = {"KuhnPoker": 400, "LeducPoker": 400, "PrisonersDilemma": 20, "Bargaining": 200}
"""Games of each two players, where it is not 60."""
BY_RATING = ("TicTacToe", "ConnectFour", "Othello", "Minichess", "Nim")
BY_EXPLOITABILITY = ("KuhnPoker", "LeducPoker")


def players_of(name: str) -> list[str]:
    game = make_game(name)
    return list(dict.fromkeys(["random", *game.opponents, *game.players]))


def played(name: str) -> tuple[Standings, str]:
    """The standings of a game's scripted players, and their report."""
    players = players_of(name)
    settings = Settings(
        name,
        {player: SCRIPTED + player for player in players},
        MEETING.get(name, 60),
        "round-robin",
        0,
        3,
        None,
        ludus=version("ludus"),
    )
    contestants = [Contestant(player, lambda player=player: GamePlayer(player)) for player in players]
    with tempfile.TemporaryDirectory() as folder:
        games = arena(settings, contestants, Path(folder) / name)
    found = standings(settings, games)
    return found, render(found, games)


FAMILIES = {
    "Nim": (("random", "oracle:50", "oracle:75", "oracle"), ("random", "minimax:2", "minimax:4", "oracle")),
    "LeducPoker": (("random", "oracle:50", "oracle"), ("random", "honest", "oracle")),
}
"""Players of growing strength, where they are not simply the game's opponents: between one that errs at times
and one that plays by another rule no order is expected."""


def ladders_of(name: str) -> tuple[tuple[str, ...], ...]:
    """Players of growing strength."""
    return FAMILIES.get(name) or (make_game(name).opponents,)


def out_of_order(found: Standings) -> list[str]:
    """What is not as expected."""
    game = found.settings.game
    lines = {line.name: line for line in found.lines}
    pairs = [two for ladder in ladders_of(game) for two in pairwise(ladder)]
    if game in BY_RATING:
        return [
            f"{game}: {strong} is not told apart from {weak}"
            for weak, strong in pairs
            if not is_stronger(found, lines[strong], lines[weak])
        ]
    if game in BY_EXPLOITABILITY:
        return [
            f"{game}: {strong} is no less exploitable than {weak}"
            for weak, strong in pairs
            if (lines[strong].exploitability or 0.0) >= (lines[weak].exploitability or 0.0)
        ]
    return []


def is_stronger(found: Standings, strong: Line, weak: Line) -> bool:
    """By their distance if they are neighbours in the table, by their ratings' intervals if not."""
    if strong.rating is None or weak.rating is None:
        return False
    place = found.lines.index(strong)
    if strong.rating.ahead is not None and found.lines[place + 1] == weak:
        return strong.rating.ahead.low > 0
    return strong.rating.elo.low > weak.rating.elo.high


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("games", nargs="*", default=list(GAMES), help="default: all")
    wrong: list[str] = []
    for name in options.parse_args().games:
        found, report = played(name)
        print_standings(found)
        strange = out_of_order(found)
        for line in strange:
            print(f"not as expected: {line}", file=sys.stderr)
        wrong += strange
        entry = {**machine("ludus", "numpy", "numba"), "not_as_expected": strange, **found.to_json()}
        put(RESULTS, name, entry)
        put(ANCHORS, name, {line.name: round(line.rating.elo.value) for line in found.lines if line.rating})
        if name == REPORTED:
            REPORT.parent.mkdir(exist_ok=True)
            REPORT.write_text(report, encoding="utf-8")
    return 1 if wrong else 0


def put(file: Path, game: str, entry: dict[str, Any]) -> None:
    """Replace the entry of a game, in the order of the games."""
    entries = json.loads(file.read_text()) if file.exists() else {}
    entries[game] = entry
    file.write_text(json.dumps({name: entries[name] for name in sorted(entries)}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
