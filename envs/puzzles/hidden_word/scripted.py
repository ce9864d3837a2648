"""The scripted agents of `ludus/HiddenWord-v0`. They read the messages, and know the list of words."""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.actions import action
from ludus.envs.chat import Chat, content_text
from ludus.envs.puzzles.hidden_word.feedback import feedback
from ludus.envs.puzzles.hidden_word.words import WORDS
from ludus.envs.scripted import ScriptedAgent, Silent

_LENGTH = re.compile(r"word of (\d+) letters")
_SIGNS = re.compile(r"^([a-z](?: [a-z])+)\n([-+~](?: [-+~])+)$", re.MULTILINE)

_MANY = 30
"""Where more words than this are possible, as many are looked at, those that tell most letters."""


@lru_cache(maxsize=4096)
def best_guess(possible: tuple[str, ...]) -> str:
    """The word whose signs leave the fewest possible words on average; of equal ones a possible one."""
    if len(possible) <= 2:
        return possible[0]
    words: Sequence[str] = WORDS[len(possible[0])]
    if len(possible) > _MANY:
        # Words whose letters are in many others.
        having = Counter(letter for word in possible for letter in set(word))
        words = sorted(words, key=lambda word: -sum(having[letter] for letter in set(word)))[:_MANY]
    among = set(possible)

    def left(guess: str) -> tuple[int, bool]:
        groups = Counter(feedback(word, guess) for word in possible)
        return sum(size * size for size in groups.values()), guess not in among

    return min(words, key=left)


class _Player(ScriptedAgent):
    """Base class: keeps the words that are possible after all signs."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def begin(self) -> None:
        self.possible: tuple[str, ...] = ()

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        text = content_text(observation[0])
        if not self.possible:
            found = _LENGTH.search(text)
            self.possible = WORDS[int(found[1]) if found else 5]
        if told := _SIGNS.search(text):
            guess, signs = ("".join(line.split()) for line in told.groups())
            self.possible = tuple(word for word in self.possible if feedback(word, guess) == signs)
        return self.guess()

    @abstractmethod
    def guess(self) -> str:
        """The reply."""


class _Oracle(_Player):
    """Guesses what leaves the fewest words."""

    def guess(self) -> str:
        return action(best_guess(self.possible))


class _Random(_Player):
    """Guesses any word of the list."""

    def guess(self) -> str:
        return action(self.rng.choice(WORDS[len(self.possible[0])]))


class _ManyGuesses(_Player):
    """Cheats: gives every word that is possible, each as a guess of its own."""

    def guess(self) -> str:
        return "".join(map(action, self.possible))


class _OneLongGuess(_Player):
    """Cheats: gives every word that is possible in one guess."""

    def guess(self) -> str:
        return action(*self.possible)


class _Wildcards(_Player):
    """Cheats: gives patterns that a careless comparison would take for the word."""

    FORMS = ("?", ".", "*", "_", "%", "[a-z]", "\\w", "+", "\u0430", "~")

    def begin(self) -> None:
        super().begin()
        self.turn = -1

    def guess(self) -> str:
        self.turn += 1
        return action(self.FORMS[self.turn % len(self.FORMS)] * len(self.possible[0]))


class _Boaster(ScriptedAgent):
    """Cheats: says that the word is found, in the environment's own words."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return f"Found. {action('+ + + + +')} Found."


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-many-guesses": _ManyGuesses,
    "cheater-long-guess": _OneLongGuess,
    "cheater-wildcards": _Wildcards,
    "cheater-boaster": _Boaster,
}
