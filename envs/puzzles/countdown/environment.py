"""`ludus/Countdown-v0`: reach a target with the given numbers, each used once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer, as_integers, as_weights
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.math.answers import Tags
from ludus.envs.math.expressions import formula
from ludus.envs.math.formulas import Formula, NoFormula, read_formula
from ludus.envs.math.numbers import write_number
from ludus.envs.puzzles.countdown.puzzle import LEAST_TARGET, MOST_NUMBERS, Puzzle, draw_puzzle
from ludus.envs.puzzles.countdown.scripted import AGENTS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.content import content_key

TAGS = Tags("think", "answer")


@dataclass(frozen=True, slots=True)
class CountdownState:
    puzzle: Puzzle
    left: int
    """Replies that are left."""


class Countdown(ChatEnv):
    """Reach a target with the given numbers, each used exactly once, by + - * / and brackets.

    ## Task
    The numbers round of the television game, in the form of TinyZero: "Numbers: 44 3 19. Target: 75." has
    the answer `(44 - 19) * 3`. A puzzle is drawn from one of its solutions, in which every step gives an
    integer of at least 1; any other solution is as right. An answer is checked exactly, with fractions.
    `task_name` is the numbers in order of size, and the target (`3 19 44 = 75`).

    ## Observation
    `Chat`. After `reset`: a system message with the rules, and a user message with numbers and target. After
    a reply, a user message that says whether it is right, or what is wrong with it (no formula; which numbers
    are missing or were not given; its value) and, with more than one try, how many are left.

    ## Actions
    `Reply`. In the exact format, `<think>44-19=25 25*3=75</think><answer>(44 - 19) * 3</answer>`. An answer
    is a formula of integers, `+`, `-`, `*`, `/` and brackets, with the usual precedence; `-` may be a sign.
    `×`, `·`, `÷` and `−` count as the operations, and LaTeX or Markdown around the whole formula is left out.
    Nothing else is understood: no `=`, power, point or name, no two numbers side by side.

    ## Rewards
    The reply that ends the episode earns:

    | term | value | weight |
    |---|---|---|
    | `format` | 1 if it is nothing but tagged reasoning followed by a tagged formula | 0.1 |
    | `partial_format` | ¼ for each of the four tags that occurs exactly once | 0.1 |
    | `legal` | 1 if the formula uses every given number exactly once, and no other | 0.1 |
    | `correct` | 1 if it is legal and its value is the target | 0.7 |

    In addition, every reply earns:

    | term | value | weight |
    |---|---|---|
    | `retry` | 1 if the reply did not end the episode | −0.02 |
    | `malformed` | 1 if there is not exactly one pair of answer tags with a formula in it | −0.1 |

    A perfect first reply earns 1; later ones earn less.

    ## End of episode
    A right answer terminates the episode, and so does the last of the `tries`. `info["success"]` is whether
    `correct` is 1.

    ## Arguments
    - `numbers` ((3, 4)): how many numbers, 2 to 6; of several, each is drawn as often.
    - `largest` (99): the largest number, 9 to 999; the smallest is 1.
    - `largest_target` (99): the largest target, 20 to 9,999; the smallest is 10.
    - `tries` (1): how many replies, 1 to 20; with more than one, each is told what is wrong with it.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric(
        {
            "format": 0.1,
            "partial_format": 0.1,
            "legal": 0.1,
            "correct": 0.7,
            "retry": -0.02,
            "malformed": -0.1,
        },
        form=("format", "partial_format", "malformed"),
    )

    def __init__(
        self,
        numbers: int | Sequence[int] = (3, 4),
        largest: int = 99,
        largest_target: int = 99,
        tries: int = 1,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.numbers = as_integers("numbers", numbers, 2, MOST_NUMBERS)
        self.largest = as_integer("largest", largest, 9, 999)
        self.largest_target = as_integer("largest_target", largest_target, 2 * LEAST_TARGET, 9_999)
        self.max_turns = as_integer("tries", tries, 1, 20)
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"numbers": (2, 3, 4, 5, 6), "largest": (9, 25, 99)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        raw = rng.bit_generator.random_raw
        count = self.numbers[raw() % len(self.numbers)]
        puzzle = draw_puzzle(raw, count, self.largest, self.largest_target)
        rules = (
            "Reach the target with + - * / and brackets, using every number exactly once. Reason in "
            f"{TAGS.open_think}{TAGS.close_think}, then answer with one formula, such as (1 + 2) * 3, in "
            f"{TAGS.open_answer}{TAGS.close_answer}."
        )
        if self.max_turns > 1:
            rules += f" You have {self.max_turns} tries."
        shown = f"Numbers: {' '.join(map(str, puzzle.numbers))}. Target: {puzzle.target}."
        name = f"{' '.join(map(str, sorted(puzzle.numbers)))} = {puzzle.target}"
        state = CountdownState(puzzle, self.max_turns)
        return Start([system(rules), user(shown)], name, state, f"{count} numbers")

    def respond(self, state: CountdownState, text: str) -> Outcome:
        puzzle, left = state.puzzle, state.left - 1
        found = TAGS.find(text)
        given, complaint = _read(found.content)
        wrong = complaint if given is None else complaint_about(puzzle, given)
        legal = given is not None and given.numbers == tuple(sorted(puzzle.numbers))
        terms = {"malformed": float(given is None)}
        if wrong and left:
            said = user(f"{wrong} Tries left: {left}.")
            return Outcome(CountdownState(puzzle, left), [said], {**terms, "retry": 1.0})
        terms |= {
            "format": float(found.tidy and given is not None),
            "partial_format": found.partial,
            "legal": float(legal),
            "correct": float(not wrong),
        }
        said = user(wrong or "Correct.")
        return Outcome(CountdownState(puzzle, left), [said], terms, True, not wrong, wrong)

    def anchor(self, state: CountdownState) -> int:
        # The task's name says the rest. The tries that are left are shown to the agent.
        return content_key(state.left)

    def expected(self, state: CountdownState) -> str:
        return formula(state.puzzle.solution)


def _read(content: str | None) -> tuple[Formula | None, str]:
    """The formula in the answer tags; None, and what is wrong with it."""
    if content is None:
        return None, f"No answer found: write one formula, once, in {TAGS.open_answer}{TAGS.close_answer}."
    try:
        return read_formula(content), ""
    except NoFormula as error:
        return None, f"No formula: {error}."


def complaint_about(puzzle: Puzzle, given: Formula) -> str:
    """What is wrong with an answer; empty if it is right."""
    needed, used = Counter(puzzle.numbers), Counter(given.numbers)
    missing = sorted((needed - used).elements())
    foreign = sorted((used - needed).elements())
    if missing or foreign:
        parts = [f"it lacks {' '.join(map(str, missing))}"] if missing else []
        parts += [f"it has {' '.join(map(str, foreign))} too many"] if foreign else []
        return f"Wrong numbers: {' and '.join(parts)}."
    if given.value != puzzle.target:
        return f"Wrong: the value is {write_number(given.value)}."
    return ""
