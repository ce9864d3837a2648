"""The games by name."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ludus.envs.games.environment import GameChat
    from ludus.envs.games.form import Game

GAMES = {
    name: f"ludus.envs.games.{module}"
    for name, module in {
        "Bargaining": "bargaining",
        "ConnectFour": "connect_four.game",
        "KuhnPoker": "kuhn",
        "LeducPoker": "leduc",
        "Minichess": "minichess.game",
        "Nim": "nim",
        "Othello": "othello.game",
        "PrisonersDilemma": "dilemma",
        "TicTacToe": "tic_tac_toe",
    }.items()
}
"""The module of each, in which a class has the game's name; nothing is imported before it is made."""

COMPILED = ("ConnectFour", "TicTacToe")
"""Those of which many can be played at once by compiled code (`vector.py`)."""


def make_game(name: str, **arguments: Any) -> "Game[Any]":
    """A game by its name.

    Args:
        name: one of `GAMES`.
        arguments: of the game, see its page.

    Raises:
        ArgumentError: there is none of that name, or an argument is wrong.
        TypeError: the game has no such argument.
    """
    from ludus.envs.arguments import unknown
    from ludus.envs.errors import ArgumentError

    if name not in GAMES:
        raise ArgumentError(unknown("game", name, GAMES))
    game: Game[Any] = getattr(import_module(GAMES[name]), name)(**arguments)
    return game


def make_chat(name: str, **arguments: Any) -> "GameChat":
    """A game's environment in words by the game's name; errors as of `make_game`."""
    module = import_module(type(make_game(name)).__module__)
    chat: GameChat = getattr(module, f"{name}Chat")(**arguments)
    return chat
