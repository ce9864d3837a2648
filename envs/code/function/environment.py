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
    A family of tasks and the details of its specification are drawn from the seed: "the words that have more
    than 4 letters", "in reverse order", "modulo 61". There are seventy families in nine topics: `basics` (one
    line each, in few words), `strings`, `parsing`, `numbers`, `search`, `dynamic` (programming), `graphs`,
    `simulation` and `games`. The program is run in a sandbox, on inputs that are drawn for the episode, edge
    cases among them; the sandbox never holds the answers. `task_name` is the family and a hash of what is
    asked for; it is the same whatever the examples are.

    ## Observation
    `Chat`. After `reset`: a system message, and a user message with the signature, the specification and
    three examples. After the reply: one user message that says what was right, and the first example that was
    not.

    ## Actions
    `Reply`: the code, in a block (three backticks, `python`, the code, three backticks) or alone. Of several
    blocks of Python the last one that defines the function counts. It runs on Python with its standard
    library, without network or other programs, for at most 0.04 seconds of processor time.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `runs` | 1 if every call with a public input returns something | 0.05 |
    | `public` | the share of the examples that are right | 0.1 |
    | `hidden` | the share of the hidden cases that are right | 0.2 |
    | `solved` | 1 if all of both are right | 0.5 |
    | `fast` | 1 if `solved` and, in families whose inputs may be long, a long input is right in time | 0.15 |
    | `malformed` | 1 if there is no program that names the function | −0.1 |

    A perfect reply earns 1. Right is what equals the answer, type by type: `True` is not 1, and 1.0 is 1 only
    where a float is asked for (within 1e-9).

    ## End of episode
    The first reply terminates the episode. `info["success"]` is whether `fast` is 1.

    ## Arguments
    - `families` (None): names of families or topics to draw from, each family equally often; by default all.
    - `difficulty` (3): 1 to 3; from how many of its phrases and numbers a specification is drawn: the plain
      and small ones come first.
    - `render_mode` (None): `"ansi"` lets `render()` return the conversation.

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

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        task = draw_task(rng, self.families, self.difficulty)
        return Start([system(INSTRUCTIONS), user(task.question)], task.key, task)

    def respond(self, state: Task, text: str) -> Outcome:
        program = program_in(text, state.family.function)
        if program.complaint:
            return Outcome(state, [user(program.complaint)], {"malformed": 1.0}, True)
        judgement = judge(state, program.code)
        return Outcome(state, [user(verdict(judgement))], judgement.terms, True, judgement.fast)


def checked_families(names: Sequence[str] | None) -> tuple[Family, ...]:
    """The families of these names and topics, each once, in their own order; None stands for all.

    Raises:
        ArgumentError: there is no family or topic of that name.
    """
    asked = as_choices("families", names, [*TOPICS, *FAMILIES])
    return tuple(family for family in FAMILIES.values() if family.name in asked or family.topic in asked)


def draw_task(rng: np.random.Generator, families: Sequence[Family], difficulty: int) -> Task:
    """A task of one of the families."""
    # Python's generator draws from lists and strings as the families need it.
    draws = Random(int(rng.bit_generator.random_raw()))
    return draw(draws.choice(families), draws, difficulty)


def verdict(judgement: Judgement) -> str:
    """What the user says to the last reply."""
    public, hidden = judgement.public, judgement.hidden
    if judgement.fast:
        return "Right."
    if judgement.solved:
        return "Right, but not in time for a long input."
    first = f" {public.failures[0]}" if public.failures else ""
    return f"Right: {public.count} examples, {hidden.count} hidden cases.{first}"
