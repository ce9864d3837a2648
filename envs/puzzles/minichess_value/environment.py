"""`ludus/MinichessValue-v0`: say who wins endgames of minichess."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_choices, as_integer, as_weights
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.math.answers import Tags
from ludus.envs.puzzles.minichess_value.endgames import PIECES, RESULTS, SIDES, Endgame, draw_endgame
from ludus.envs.puzzles.minichess_value.scripted import AGENTS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

TAGS = Tags("think", "answer")
PAIRS = ("QQ", "QR", "RR")
"""Of these pieces, one for each side, every result is possible whoever moves."""
_WORDS = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class Endgames:
    positions: tuple[Endgame, ...]
    results: tuple[int, ...]
    """What comes of each, as a place in `RESULTS`."""


class MinichessValue(ChatEnv):
    """Say of each of several endgames of minichess who wins if both sides play perfectly.

    ## Task
    Positions on 5 × 5 squares, in which each side has its king and one other piece, and White or Black is to
    move. Whether White wins, Black wins or it is a draw is known from a table of all such positions, solved
    backwards from the mates; nobody counts moves. A result, who moves and who has which piece are drawn
    evenly and independently of each other, so that neither the pieces nor the move tells anything; looking
    ahead does. `task_name` is the positions, row by row, with the side that moves.

    ## Observation
    `Chat`. After `reset`: a system message with the rules, and a user message with the positions. After the
    reply, a user message that says how many are right.

    ## Actions
    `Reply`. In the exact format, `<think>…</think><answer>White, draw, Black, White</answer>`: a word for
    each position, in their order, with commas or blanks between them; upper and lower case count alike.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `format` | 1 if it is nothing but tagged reasoning, then tagged words, as many as positions | 0.1 |
    | `partial_format` | ¼ for each of the four tags that occurs exactly once | 0.1 |
    | `right` | the share of positions whose result is right | 0.2 |
    | `correct` | 1 if all are right | 0.6 |
    | `malformed` | 1 if there is not exactly one pair of answer tags with a word for each position | −0.1 |

    A perfect reply earns 1.

    ## End of episode
    Every reply terminates the episode. `info["success"]` is whether `correct` is 1.

    ## Arguments
    - `positions` (4): how many, 1 to 8. A guess is right in one of 3ⁿ episodes.
    - `pieces` (all): which pieces meet, the sides being drawn: of `QQ`, `QR`, `RR`.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric(
        {"format": 0.1, "partial_format": 0.1, "right": 0.2, "correct": 0.6, "malformed": -0.1},
        form=("format", "partial_format", "malformed"),
    )
    max_turns = 1

    def __init__(
        self,
        positions: int = 4,
        pieces: str | Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.positions = as_integer("positions", positions, 1, 8)
        self.pieces = as_choices("pieces", pieces, PAIRS)
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"positions": (1, 2, 4, 8)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        raw = rng.bit_generator.random_raw
        found: list[Endgame] = []
        results: list[int] = []
        for _ in range(self.positions):
            pair = [PIECES.index(piece) for piece in self.pieces[raw() % len(self.pieces)]]
            white, black = pair if raw() % 2 else pair[::-1]
            result, mover = raw() % 3, raw() % 2
            endgame = draw_endgame(raw, (white, black), result, mover)
            assert endgame is not None  # PAIRS have every result, whoever moves
            found.append(endgame)
            results.append(result)
        example = ", ".join(RESULTS[number % 3] for number in range(self.positions))
        rules = (
            "Chess on 5 by 5 squares. White's men are K, Q and R, Black's k, q and r. Each position "
            "is played perfectly by both sides, without a limit on moves; stalemate and repetition are "
            f"draws. Say who wins. Reason in {TAGS.open_think}{TAGS.close_think}, then answer with a word "
            f"for each position, such as {example}, in {TAGS.open_answer}{TAGS.close_answer}."
        )
        shown = "\n\n".join(f"{SIDES[each.mover]} to move:\n{board(each)}" for each in found)
        name = "; ".join(each.name for each in found)
        return Start([system(rules), user(shown)], name, Endgames(tuple(found), tuple(results)))

    def respond(self, state: Endgames, text: str) -> Outcome:
        tags = TAGS.find(text)
        given = None if tags.content is None else read_results(tags.content, len(state.results))
        right = sum(a == b for a, b in zip(given or (), state.results, strict=False))
        success = right == len(state.results)
        terms = {
            "format": float(tags.tidy and given is not None),
            "partial_format": tags.partial,
            "right": right / len(state.results),
            "correct": float(success),
            "malformed": float(given is None),
        }
        if given is None:
            said = f"No answer found: write {len(state.results)} words, once, in "
            said += f"{TAGS.open_answer}{TAGS.close_answer}: White, Black or draw for each position."
        else:
            said = f"Right: {right} of {len(state.results)}."
        return Outcome(state, [user(said)], terms, True, success, "" if success else said)

    def expected(self, state: Endgames) -> str:
        return ", ".join(RESULTS[result] for result in state.results)


def board(endgame: Endgame) -> str:
    """A position as text, as `ludus/MinichessChat-v0` shows it."""
    rows = [f"{5 - row} {' '.join(endgame.squares[5 * row : 5 * row + 5])}" for row in range(5)]
    return "\n".join([*rows, "  a b c d e"])


def read_results(content: str, count: int) -> list[int] | None:
    """The results, places in `RESULTS`, that an answer names; None unless it is so many of these words."""
    if len(content) > 20 * count:
        return None
    words = [word for word in _WORDS.split(content.lower()) if word]
    names = [result.lower() for result in RESULTS]
    if len(words) != count or any(word not in names for word in words):
        return None
    return [names.index(word) for word in words]
