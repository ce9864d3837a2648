"""The page of a game's two environments, which a user reads: what the game says, and what all games share."""

import inspect
from typing import Any

from ludus.envs.games.form import Game

_PAGE = """{summary}

{chat} in words, {env} in numbers; both play the same game against a scripted opponent.

## Task
{task}

## Observation
In words, `Chat`: after `reset` a system message with the rules and a user message with what the agent's seat
sees and which moves it has; then a user message of that kind after each reply.

In numbers, `Box(0, 1, {shape}, float32)`: {looks}

`info["action_mask"]`, int8 `({actions},)`, has there a 1 for each legal move; `action_masks()` gives bools.

## Actions
{moves}

In words: any text with exactly one `<action>…</action>`, and a move in it. In numbers: `Discrete({actions})`.

## Rewards
The sum over `info["reward_terms"]` of each value times its weight:

| term | value | weight |
|---|---|---|
| `outcome` | what the agent's seat gets, at the end: {low:g} to {high:g} | 1 |
| `illegal` | 1 for a move that the rules forbid | −0.1 |
| `malformed` | 1 for a reply in which no move can be read | −0.1 |

## End of episode
Terminates when the game is over, or after `error_limit` illegal or malformed moves of the agent's, with the
outcome {low:g}; nothing is truncated. `info["success"]` is then there, and says whether the agent reached
{target}.

## Arguments
- `opponent`: who plays the other seats: {players}; or a function from (view, legal moves) to a
  probability for each of these. `oracle:75` plays as `oracle` in 75 of 100 moves, at random in the others. By
  default `{opponent}`.
- `seat`: `first` (the default), `second`, or `random`.
- `error_limit` (3): with so many illegal or malformed moves the game is lost.
{arguments}- `observation`, in words: {observations}.
- `render_mode` (None): `ansi` or `rgb_array`, in words the conversation, in numbers the board.

## Version history
- v0: first version.
"""
_OPEN = "`text` (the default), `picture` (the board as an image in its place), or `both`"


def page(game: type[Game[Any]]) -> str:
    """The docstring of the environments of a game."""
    made = game()
    names = ["`random`", *(f"`{name}`" for name in made.players)]
    if hasattr(made, "minimax"):
        names.append("`minimax:3`, which looks so many moves ahead")
    return _PAGE.format(
        summary=(inspect.getdoc(game) or "").partition("\n")[0],
        chat=f"`ludus/{game.name}Chat-v0`",
        env=f"`ludus/{game.name}-v0`",
        shape=made.shape,
        actions=made.actions,
        players=", ".join(names),
        opponent=made.opponents[0],
        observations=_OPEN if made.is_open else "`text`; pictures would show what is hidden",
        arguments="".join(f"- {line}\n" for line in game.settings),
        **{name: inspect.cleandoc(getattr(game, name)) for name in ("task", "looks", "moves", "target")},
        low=game.low,
        high=game.high,
    )
