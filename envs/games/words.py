"""What a player of a game reads and writes: the rules, the board, the answer to an error, a move in tags."""

from typing import Any

from ludus.envs.actions import action, read_action
from ludus.envs.chat import Message, system, user
from ludus.envs.games.form import Game
from ludus.envs.games.table import Table, outcome

MOVES = "Moves: "
"""What the line of legal moves begins with."""


def opening(game: Game[Any], seat: int) -> Message:
    """The rules, and how to move."""
    example = reply(game, game.example)
    return system(f"{game.rules(seat)} Each reply is one move, such as {example}.")


def scene(game: Game[Any], table: Table, seat: int, complaint: str = "") -> Message:
    """What a seat that is to move sees, after what was wrong with its last reply."""
    moves = ", ".join(game.word(move) for move in game.legal(table.state, seat))
    lines = [complaint, game.tell(game.view(table.state, seat)), MOVES + moves]
    return user("\n".join(filter(None, lines)))


def idle_scene(game: Game[Any], table: Table, seat: int) -> Message:
    """What a seat sees that is not to move."""
    return user(game.tell(game.view(table.state, seat)))


def ending(game: Game[Any], table: Table, seat: int, complaint: str = "") -> Message:
    """What a seat sees at the end, and what it got."""
    result = outcome(game, table)
    assert result is not None
    how = "The game is over"
    if table.forfeited is not None:
        how = f"{'You have' if table.forfeited == seat else 'The other side has'} lost by too many errors"
    lines = [complaint, game.tell(game.view(table.state, seat)), f"{how}. You get {result[seat]:g}."]
    return user("\n".join(filter(None, lines)))


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
