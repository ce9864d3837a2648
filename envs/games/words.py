"""What a player of a game reads and writes: the rules, the board, the answer to an error, a move in tags."""

from typing import Any

from ludus.envs.actions import action, read_action
from ludus.envs.chat import Message, system, text_part, user
from ludus.envs.games.form import Game
from ludus.envs.games.table import Table, outcome
from ludus.envs.picture import picture_part

MOVES = "Moves: "
"""What the line of legal moves begins with."""


def opening(game: Game[Any], seat: int, observation: str = "text") -> Message:
    """The rules, and how to move."""
    legend = "" if observation == "text" else game.legend
    how = f"Each reply is one move, such as {reply(game, game.example)}."
    return system(" ".join(filter(None, [game.rules(seat), legend, how])))


def scene(
    game: Game[Any], table: Table, seat: int, complaint: str = "", observation: str = "text"
) -> Message:
    """What a seat that is to move sees, after what was wrong with its last reply."""
    moves = ", ".join(game.word(move) for move in game.legal(table.state, seat))
    return _said(game, table, seat, complaint, MOVES + moves, observation)


def idle_scene(game: Game[Any], table: Table, seat: int) -> Message:
    """What a seat sees that is not to move."""
    return user(game.tell(game.view(table.state, seat)))


def ending(
    game: Game[Any], table: Table, seat: int, complaint: str = "", observation: str = "text"
) -> Message:
    """What a seat sees at the end, and what it got."""
    result = outcome(game, table)
    assert result is not None
    how = "The game is over"
    if table.forfeited is not None:
        how = f"{'You have' if table.forfeited == seat else 'The other side has'} lost by too many errors"
    return _said(game, table, seat, complaint, f"{how}. You get {result[seat]:g}.", observation)


def _said(game: Game[Any], table: Table, seat: int, complaint: str, line: str, observation: str) -> Message:
    """What was wrong, the board, and a line about it; in pictures the board comes first."""
    view = game.view(table.state, seat)
    told = "" if observation == "picture" else game.tell(view)
    text = "\n".join(filter(None, [complaint, told, line]))
    return user(text if observation == "text" else [picture_part(game.show(view)), text_part(text)])


def reply(game: Game[Any], move: int) -> str:
    """The reply that makes a move."""
    return action(game.word(move))


def read_move(game: Game[Any], text: str) -> tuple[int | None, str]:
    """The move of a reply, legal or not; None, and what is wrong with the reply."""
    found, wrong = read_action(text)
    if found is None:
        return None, wrong
    move = game.read(found) if len(found) < 100 else None
    return move, "" if move is not None else f"A move is written as {game.word(game.example)}."


def illegal(game: Game[Any], move: int) -> str:
    """What is said to a move that is none here."""
    return f"Illegal here: {game.word(move)}."
