"""`ludus/HiddenWord-v0`: guess a word from what its guesses have in common with it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.actions import action, read_action
from ludus.envs.arguments import as_integer, as_weights
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.puzzles.hidden_word.feedback import ABSENT, ELSEWHERE, HERE, feedback
from ludus.envs.puzzles.hidden_word.scripted import AGENTS
from ludus.envs.puzzles.hidden_word.words import WORDS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.content import content_key

EXAMPLES = {4: "word", 5: "guess", 6: "letter"}
"""Guesses that show the form of a reply. None of them is ever hidden."""


@dataclass(frozen=True, slots=True)
class HiddenWordState:
    word: str
    guesses: tuple[str, ...] = ()


class HiddenWord(ChatEnv):
    """Guess a hidden word in a few tries; each guess gets a sign for every letter.

    ## Task
    A game of the kind of Wordle. The word is one of about 300 to 500 common English ones of its length, which
    come with the package. A guess is any letters, in a dictionary or not. `task_name` is the word.

    ## Observation
    `Chat`. After `reset`: a system message with the rules. After a guess, a user message with its letters,
    their signs, and how many tries are left:

        s p e e d
        - ~ + ~ -
        4 tries left.

    `+`: the letter stands there. `~`: the word has it in another place. `-`: the word does not have it, or
    not as often. (A letter gets no more of `+` and `~` than the word has of it, first those in place, then
    others from left to right.) The word is shown when the last try was wrong.

    ## Actions
    Any text with exactly one `<action>…</action>`, and in it one guess, of as many letters from a to z as the
    word has, with or without blanks between them, in upper or lower case.

    ## Rewards
    The sum over `info["reward_terms"]` of each value times its weight:

    | term | value | weight |
    |---|---|---|
    | `found` | 1 when the guess is the word | 1 |
    | `wrong` | 1 for every other guess | −0.05 |
    | `consistent` | 1 for a guess that may be the word, after all signs so far | 0 |
    | `malformed` | 1 for a reply that is not of the form above; it costs no try | −0.1 |

    ## End of episode
    Terminates when the word is found, or with the last of the `tries`. Truncated after `max_turns` =
    `tries` + 4 replies, which only malformed ones can use up. `info["success"]` is whether it was found.

    ## Arguments
    - `length` (5): letters of the word, 4 to 6.
    - `tries` (6): how many guesses, 1 to 20.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric({"found": 1.0, "wrong": -0.05, "consistent": 0.0, "malformed": -0.1}, form=("malformed",))

    def __init__(
        self,
        length: int = 5,
        tries: int = 6,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.length = as_integer("length", length, min(WORDS), max(WORDS))
        self.tries = as_integer("tries", tries, 1, 20)
        self.max_turns = self.tries + 4
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"length": tuple(WORDS), "tries": (10, 8, 6)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        words = WORDS[self.length]
        word = words[int(rng.integers(len(words)))]
        rules = (
            f"Guess a hidden word of {self.length} letters in {self.tries} tries. Each letter of a guess "
            f"gets a sign: {HERE} it stands there, {ELSEWHERE} it stands elsewhere, {ABSENT} it does not "
            f"occur, or not as often. {self._how}"
        )
        return Start([system(rules), user("Guess.")], word, HiddenWordState(word))

    def respond(self, state: HiddenWordState, text: str) -> Outcome:
        given, complaint = read_action(text)
        letters = "".join((given or "").split())
        if given is not None and not re.fullmatch(f"[A-Za-z]{{{self.length}}}", letters):
            complaint = f"A guess has {self.length} letters from a to z."
        if complaint:
            left = self.tries - len(state.guesses)
            said = user(f"{complaint} {self._how} {_left(left)}")
            return Outcome(state, [said], {"malformed": 1.0})
        guess = letters.lower()
        after = replace(state, guesses=(*state.guesses, guess))
        found = guess == state.word
        left = self.tries - len(after.guesses)
        signs = feedback(state.word, guess)
        ending = "Found." if found else _left(left) if left else f"The word was {state.word}."
        known = ((feedback(guess, past), feedback(state.word, past)) for past in state.guesses)
        terms = {
            "found": float(found),
            "wrong": float(not found),
            "consistent": float(all(one == other for one, other in known)),
        }
        said = user(f"{' '.join(guess)}\n{' '.join(signs)}\n{ending}")
        failure = "" if found else f"guessed {', '.join(after.guesses)}"
        return Outcome(after, [said], terms, found or not left, found, failure)

    def anchor(self, state: HiddenWordState) -> int:
        # The order of the guesses plays no part, and their number says how many are left.
        return content_key(tuple(sorted(state.guesses)))

    def expected(self, state: HiddenWordState) -> str:
        return state.word

    def unfinished(self, state: HiddenWordState) -> str:
        return f"guessed {', '.join(state.guesses) or 'nothing'}"

    @property
    def _how(self) -> str:
        return f"Reply with one guess, such as {action(EXAMPLES[self.length])}."


def _left(tries: int) -> str:
    return "1 try left." if tries == 1 else f"{tries} tries left."
