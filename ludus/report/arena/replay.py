"""Games of an arena for its page: who said what, and the board after every move as a picture."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ludus.agents.arena.folder import Game, Settings
from ludus.agents.arena.schedule import Fixture
from ludus.agents.match import Ply
from ludus.agents.policy import derive_seed
from ludus.envs.games import make_game
from ludus.envs.games.form import Game as Rules
from ludus.envs.games.table import sit_down, submit
from ludus.report.figures import visible
from ludus.tools.wording import number

MOST_PICTURES = 2_000
"""So many different boards a page has at most; they are what it weighs."""
_MOST_SAID = 2_000
_COLOURS = 16


def shown_games(games: Mapping[Fixture, Game]) -> list[Game]:
    """The games that the page replays: of every two players the first pair, and all that did not end by the
    rules, in the order of the schedule."""
    return [game for fixture, game in sorted(games.items()) if fixture.number == 0 or game.ending != "played"]


def replays(settings: Settings, games: Sequence[Game]) -> str:
    """The games as JSON that may stand in a page; the last ones are left out if there are too many boards."""
    rules = make_game(settings.game, **settings.arguments)
    album = _Album()
    shown = []
    for game in games:
        if len(album.pictures) > MOST_PICTURES:
            break
        shown.append(_replay(rules, settings, game, album))
    data = {"pictures": album.pictures, "games": shown}
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


@dataclass
class _Album:
    """Pictures, each once."""

    pictures: list[str] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def add(self, picture: np.ndarray) -> int:
        key = picture.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self.pictures)
            file = io.BytesIO()
            Image.fromarray(picture).quantize(_COLOURS).save(file, "PNG", optimize=True)
            self.pictures.append(base64.b64encode(file.getvalue()).decode())
        return self._numbers[key]


def _replay(rules: Rules[Any], settings: Settings, game: Game, album: _Album) -> dict[str, Any]:
    table = sit_down(rules, derive_seed(game.seed))
    boards = [album.add(rules.picture(table.state))]
    for ply in game.plies:
        table = submit(rules, table, ply.seat, ply.move, settings.error_limit)
        boards.append(album.add(rules.picture(table.state)))
    return {
        "players": [game.fixture.first, game.fixture.second],
        "number": game.fixture.number + 1,
        "ending": "" if game.ending == "played" else f"{game.ending}: {game.culprit}",
        "fault": visible(game.fault),
        "outcome": None if game.outcome is None else list(map(number, game.outcome)),
        "boards": boards,
        "plies": [_ply(rules, ply) for ply in game.plies],
    }


def _ply(rules: Rules[Any], ply: Ply) -> list[Any]:
    move = None if ply.move is None else rules.word(ply.move)
    return [ply.seat, visible(ply.said[:_MOST_SAID]), move, ply.legal]
