"""`ludus/CodeFunction-v0`: write one function."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from ludus.envs.arguments import as_choices, as_integer
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.code.function.families import FAMILIES, TOPICS, Family, Task, draw
from ludus.envs.code.function.families.family import HARDEST
from ludus.envs.code.function.judge import Judgement, judge
from ludus.envs.code.function.reply import program_in
from ludus.envs.code.function.scripted import SCRIPTED
from ludus.envs.rubric import Rubric
from ludus.tools.content import content_key

WEIGHTS: Mapping[str, float] = {
    "runs": 0.05,
    "public": 0.1,
    "hidden": 0.2,
    "solved": 0.5,
    "fast": 0.15,
    "malformed": -0.1,
}
INSTRUCTIONS = "Write the Python function. Reply with its code."


class CodeFunction(ChatEnv):
    """Write the Python function that a specification describes.

    ## Task
    The seed draws a family of tasks and the details of its specification: "the words that have more than 4
    letters", "in reverse order", "modulo 61". There are seventy families in nine topics: `basics` (short
    one-liners), `strings`, `parsing`, `numbers`, `search`, `dynamic` (programming), `graphs`, `simulation`
    and `games`. The program runs in a sandbox on inputs drawn for the episode, including edge cases; the
    sandbox never holds the answers. `task_name` is the family and a hash of what is asked for, whatever the
    examples.

    ## Observation
    `Chat`. After `reset`: a system message, and a user message with the signature, the specification and
    three examples. After the reply: one user message that says what was right, and shows the first example
    that was not.

    ## Actions
    `Reply`: the code, in a block (three backticks, `python`, the code, three backticks) or alone. Of several
    Python blocks, the last one that defines the function counts. It has Python and its standard library, no
    network and no other programs, and at most 0.04 seconds of processor time.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `runs` | 1 if every call with the input of an example returns something | 0.05 |
    | `public` | the share of the examples that are right | 0.1 |
    | `hidden` | the share of the hidden cases that are right | 0.2 |
    | `solved` | 1 if all examples and hidden cases are right | 0.5 |
    | `fast` | 1 if `solved` and, in families with large inputs, a large one is right in time | 0.15 |
    | `malformed` | 1 if no program in the reply names the function | −0.1 |

    A perfect reply earns 1. A result is right if it equals the answer, types included: `True` is not 1, and
    1.0 is 1 only where a float is asked for (within 1e-9).

    ## End of episode
    The first reply terminates the episode. `info["success"]` is whether `fast` is 1.

    ## Arguments
    - `families` (None): families or topics to draw from, each family equally often; by default all.
    - `difficulty` (3): 1 to 3; the higher, the more phrases and numbers a specification is drawn from,
      beginning with plain and small ones.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    max_turns = 1
    scripted = SCRIPTED

    def __init__(
        self,
        families: Sequence[str] | None = None,
        difficulty: int = HARDEST,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.families = checked_families(families)
        self.difficulty = as_integer("difficulty", difficulty, 1, HARDEST)
        self.rubric = Rubric(WEIGHTS, form=("malformed",))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"difficulty": tuple(range(1, HARDEST + 1))}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        task = draw_task(rng, self.families, self.difficulty)
        return Start([system(INSTRUCTIONS), user(task.question)], task.key, task, task.family.topic)

    def respond(self, state: Task, text: str) -> Outcome:
        program = program_in(text, state.family.function)
        if program.complaint:
            complaint = [user(program.complaint)]
            return Outcome(state, complaint, {"malformed": 1.0}, True, failure=program.complaint)
        judgement = judge(state, program.code)
        said = [user(verdict(judgement))]
        return Outcome(state, said, judgement.terms, True, judgement.fast, judgement.failure)

    def anchor(self, state: Task) -> int:
        # The task's name leaves the examples open.
        return content_key((state.choices, state.seed))

    def expected(self, state: Task) -> str:
        return state.family.source(state.choices)


def checked_families(names: Sequence[str] | None) -> tuple[Family, ...]:
    """The families with these names or topics, each once, in registry order; None means all.

    Raises:
        ArgumentError: there is no family or topic with that name.
    """
    asked = as_choices("families", names, [*TOPICS, *FAMILIES])
    return tuple(family for family in FAMILIES.values() if family.name in asked or family.topic in asked)


def draw_task(rng: np.random.Generator, families: Sequence[Family], difficulty: int) -> Task:
    """A task from one of the families."""
    # The families draw from lists and strings, which Python's generator can do.
    draws = Random(int(rng.bit_generator.random_raw()))
    return draw(draws.choice(families), draws, difficulty)


def verdict(judgement: Judgement) -> str:
    """The user's response to the last reply."""
    public, hidden = judgement.public, judgement.hidden
    if judgement.fast:
        return "Right."
    if judgement.solved:
        return "Right, but not in time for a long input."
    first = f" {public.failures[0]}" if public.failures else ""
    return f"Right: {public.count} examples, {hidden.count} hidden cases.{first}"
