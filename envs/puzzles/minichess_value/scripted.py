"""The scripted agents of `ludus/MinichessValue-v0`. They see only the messages, as a language model does."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, content_text
from ludus.envs.math.answers import tags_in
from ludus.envs.puzzles.minichess_value.endgames import PIECES, RESULTS, SIDES, Endgame, result_of
from ludus.envs.scripted import ScriptedAgent, Silent


class _Player(ScriptedAgent):
    """Base class: reads the positions, and answers with a word for each."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        endgames = [_read(part) for part in content_text(observation[-1]).split("\n\n")]
        return tags_in(observation).write("so it looks", *self.answers(endgames))

    def answers(self, endgames: list[Endgame]) -> tuple[str, ...]:
        """What stands in answer tags."""
        return (", ".join(RESULTS[self.result(endgame)] for endgame in endgames),)

    @abstractmethod
    def result(self, endgame: Endgame) -> int:
        """What is said of a position."""


def _read(part: str) -> Endgame:
    who, *rows, _ = part.splitlines()
    squares = "".join("".join(row.split()[1:]) for row in rows)
    return Endgame(squares, SIDES.index(who.split()[0]))


class _Random(_Player):
    """Any result."""

    def result(self, endgame: Endgame) -> int:
        return int(self.rng.integers(3))


class _Oracle(_Player):
    """Solves the endgame."""

    def result(self, endgame: Endgame) -> int:
        found = result_of(endgame)
        assert found is not None  # a position in which the king could be taken is never drawn
        return found


class _Material(_Player):
    """Cheats: counts men, and looks at no move."""

    def result(self, endgame: Endgame) -> int:
        own, other = (
            max(PIECES.index(sign.upper()) for sign in endgame.squares if sign in signs)
            for signs in ("QR", "qr")
        )
        return 2 if own == other else int(own < other)


class _Mover(_Player):
    """Cheats: says that who is to move wins."""

    def result(self, endgame: Endgame) -> int:
        return endgame.mover


class _Draws(_Player):
    """Cheats: says that everything is a draw."""

    def result(self, endgame: Endgame) -> int:
        return 2


class _Hedge(_Oracle):
    """Cheats: gives the results and others beside them."""

    def answers(self, endgames: list[Endgame]) -> tuple[str, ...]:
        (right,) = super().answers(endgames)
        return (f"{right}, draw", f"{right} or draw")[: 1 + endgames[0].mover]


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-material": _Material,
    "cheater-mover": _Mover,
    "cheater-draws": _Draws,
    "cheater-hedge": _Hedge,
}
