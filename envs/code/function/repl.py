"""`ludus/CodeFunctionRepl-v0`: write one function, and correct it when examples fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.envs.arguments import as_integer
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.code.function.environment import (
    INSTRUCTIONS,
    WEIGHTS,
    checked_families,
    draw_task,
    verdict,
)
from ludus.envs.code.function.families import Task
from ludus.envs.code.function.families.family import HARDEST
from ludus.envs.code.function.judge import Tried, judge, try_public
from ludus.envs.code.function.reply import program_in
from ludus.envs.code.function.scripted import SCRIPTED
from ludus.envs.rubric import Rubric
from ludus.tools.content import content_key

SUBMIT = "submit"
REPL_WEIGHTS: Mapping[str, float] = {**WEIGHTS, "retry": -0.02}


@dataclass(frozen=True, slots=True)
class State:
    """The state of an episode between two replies."""

    task: Task
    turns: int = 0
    """The number of replies so far."""
    code: str = ""
    """The last program; empty before the first."""


class CodeFunctionRepl(ChatEnv):
    """Write the Python function that a specification describes; run it on the examples and correct it.

    ## Task
    The tasks of `ludus/CodeFunction-v0`, under the same keys.

    ## Observation
    `Chat`. After `reset`: a system message, and a user message with the signature, the specification and
    three examples. After a reply: one user message. For each failing example it shows the call, what was
    expected and the result (a value, or the error), and it ends with the tail of the program's output.

    ## Actions
    `Reply`: the code of a whole program, in a block or alone. It runs on the examples, and is submitted if
    all of them are right; the reply `submit` submits the last program as it is. After `max_turns` replies the
    last program is submitted, whatever it is.

    ## Rewards
    The submitted program is judged as in `ludus/CodeFunction-v0`, and earns:

    | term | value | weight |
    |---|---|---|
    | `runs` | 1 if every call with the input of an example returns something | 0.05 |
    | `public` | the share of the examples that are right | 0.1 |
    | `hidden` | the share of the hidden cases that are right | 0.2 |
    | `solved` | 1 if all examples and hidden cases are right | 0.5 |
    | `fast` | 1 if `solved` and, in families with large inputs, a large one is right in time | 0.15 |

    In addition, every reply earns:

    | term | value | weight |
    |---|---|---|
    | `retry` | 1 if the reply did not end the episode | −0.02 |
    | `malformed` | 1 if the reply is neither a program naming the function nor `submit` after one | −0.1 |

    A perfect first reply earns 1; later ones earn less.

    ## End of episode
    The episode terminates when a program is submitted, or after `max_turns` replies. `info["success"]` is
    whether `fast` is 1.

    ## Arguments
    - `families` (None): families or topics to draw from, each family equally often; by default all.
    - `difficulty` (3): 1 to 3; the higher, the more phrases and numbers a specification is drawn from,
      beginning with plain and small ones.
    - `max_turns` (5): the most replies in an episode, 1 to 50.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted = SCRIPTED

    def __init__(
        self,
        families: Sequence[str] | None = None,
        difficulty: int = HARDEST,
        max_turns: int = 5,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.families = checked_families(families)
        self.difficulty = as_integer("difficulty", difficulty, 1, HARDEST)
        self.max_turns = as_integer("max_turns", max_turns, 1, 50)
        self.rubric = Rubric(REPL_WEIGHTS, form=("malformed",))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"difficulty": tuple(range(1, HARDEST + 1))}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        task = draw_task(rng, self.families, self.difficulty)
        rules = (
            f"{INSTRUCTIONS} You have {self.max_turns} replies: examples that fail come back. "
            f"`{SUBMIT}` hands in your last program."
        )
        return Start([system(rules), user(task.question)], task.key, State(task), task.family.topic)

    def respond(self, state: State, text: str) -> Outcome:
        turns = state.turns + 1
        if text.strip().strip("`").lower() == SUBMIT and state.code:
            return _handed_in(State(state.task, turns, state.code), {})
        program = program_in(text, state.task.family.function)
        after = State(state.task, turns, program.code or state.code)
        left = self.max_turns - turns
        if program.complaint:
            terms, said = {"malformed": 1.0}, program.complaint
        else:
            tried = try_public(state.task, program.code)
            if tried.all_right:
                return _handed_in(after, {})
            terms, said = {}, failed(tried)
        if left:
            return Outcome(after, [user(f"{said}\nReplies left: {left}.")], {**terms, "retry": 1.0})
        if after.code:
            return _handed_in(after, terms)
        return Outcome(after, [user(said)], terms, True, failure=said)

    def anchor(self, state: State) -> int:
        # The replies that are left are shown to the agent, so they belong to the state.
        return content_key((state.task.choices, state.task.seed, state.turns, state.code))

    def expected(self, state: State) -> str:
        return state.task.family.source(state.task.choices)


def failed(tried: Tried) -> str:
    """The user's message about failing examples."""
    printed = f"\nPrinted:\n{tried.printed}" if tried.printed else ""
    return f"Right: {tried.count} examples.\n" + "\n".join(tried.failures) + printed


def _handed_in(state: State, terms: Mapping[str, float]) -> Outcome:
    judgement = judge(state.task, state.code)
    earned = {**judgement.terms, **terms}
    return Outcome(state, [user(verdict(judgement))], earned, True, judgement.fast, judgement.failure)
