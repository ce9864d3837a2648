"""`ludus/Gem-v0`: an environment of GEM."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.foreign.gem.scripted import AGENTS
from ludus.envs.foreign.library import Library, LibraryError, as_name
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

LIBRARY = Library("gem", str(Path(__file__).with_name("guest.py")), package="gem_llm")
MOVE_S = 10
"""Seconds of processor time in which a reply must be answered."""
MAKE_S = 60
"""Seconds of processor time in which an environment must begin."""
MOST_CHARACTERS = 20_000
"""Of a reply."""


@dataclass(frozen=True, slots=True)
class Played:
    """An episode by what made it."""

    seed: int
    replies: tuple[str, ...] = ()


class Gem(ChatEnv):
    """Play an environment of GEM.

    ## Task
    One of GEM's games in words (`game:…`), or an item of its datasets of reasoning-gym (`rg:…`). How it
    begins follows from the seed, and so does all that is drawn in it: every episode has global random
    generators of its own. `task_name` is the environment's id and the seed that it is given.

    ## Observation
    `Chat`. After `reset` and after each reply: one user message with what GEM shows, and what it asks for
    then.

    ## Actions
    `Reply`: a text, with the action in the form that is asked for, most often in `\\boxed{…}`.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `reward` | what GEM gives | 1 |
    | `refused` | 1 for a reply that GEM cannot take | −0.1 |
    | `malformed` | 1 for a reply without a text | −0.1 |

    GEM cannot take a reply over which it raises an exception or computes for more than 10 s, nor, here, one
    of more than 20,000 characters. A reply that is refused or malformed leaves the game as it was.

    ## End of episode
    Terminates when GEM says that it has ended, `terminated` or `truncated`, as it says both at the end of
    some. `info["success"]` is whether the reward of that step is at least 1. `max_turns` replies truncate.

    ## Arguments
    - `env_id` (`"game:GuessTheNumber-v0-easy"`): its id in GEM.
    - `max_turns` (100): replies of an episode at most.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric({"reward": 1.0, "refused": -0.1, "malformed": -0.1}, form=("malformed",))

    def __init__(
        self,
        env_id: str = "game:GuessTheNumber-v0-easy",
        max_turns: int = 100,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.max_turns = as_integer("max_turns", max_turns, 1, 10_000)
        LIBRARY.require()
        self.env_id = as_name("env_id", env_id, LIBRARY.names())
        cannot = f"env_id={env_id!r} cannot be played here"
        try:
            begun = self._ask("play", Played(0), MAKE_S)
        except LibraryError as error:
            raise ArgumentError(f"{cannot}, in a process without a network: {_first_line(error)}") from None
        if begun is None:
            raise ArgumentError(f"{cannot}: it does not begin within {MAKE_S} s")

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        state = Played(int(rng.integers(2**31)))
        try:
            begun = self._ask("play", state, MAKE_S)
        except LibraryError as error:
            raise EnvironmentFault(f"{self.env_id}, seed {state.seed}: {_first_line(error)}") from error
        if begun is None:
            raise EnvironmentFault(f"{self.env_id}, seed {state.seed}: it did not begin within {MAKE_S} s")
        return Start([user(begun["text"])], f"{self.env_id} seed {state.seed}", state)

    def respond(self, state: Played, text: str) -> Outcome:
        if not text.strip():
            return Outcome(state, [user("There is no text in the reply: write one.")], {"malformed": 1.0})
        after = replace(state, replies=(*state.replies, text))
        reached = None
        if len(text) <= MOST_CHARACTERS:
            try:
                reached = self._ask("play", after, MOVE_S)
            except LibraryError:
                reached = None
        if reached is None:
            return Outcome(state, [user("This reply cannot be taken: write another.")], {"refused": 1.0})
        reward, done = reached["reward"], reached["done"]
        success = done and reward >= 1.0
        failure = f"a reward of {reward:g}" if done and not success else ""
        said = reached["text"] or ("It has ended." if done else "It goes on.")
        return Outcome(after, [user(said)], {"reward": reward}, done, success, failure)

    def possible_reply(self, draw: int = 0) -> str | None:
        """A reply of the kind that is asked for now, drawn by GEM; another one for another `draw`. None where
        it draws none."""
        try:
            reply: str | None = self._ask("possible", self._state, MOVE_S, draw)
        except LibraryError:
            return None
        return reply

    def _ask(self, what: str, state: Played, seconds: int, *arguments: Any) -> Any:
        return LIBRARY.ask(state.seed, [what, self.env_id, state.seed, state.replies, *arguments], seconds)


def _first_line(error: LibraryError) -> str:
    """What a library raised, without its frame of stars."""
    kind, _, text = str(error).partition(": ")
    lines = [line.strip("* ") for line in text.splitlines()]
    return f"{kind}: {next(filter(None, lines), '')}".rstrip(": ")
