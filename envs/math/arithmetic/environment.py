"""`ludus/Arithmetic-v0`: one question of arithmetic, one reply."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ludus.envs.base import Outcome, Start
from ludus.envs.chat import user
from ludus.envs.math.answers import closeness
from ludus.envs.math.arithmetic.scripted import AGENTS
from ludus.envs.math.expressions import Number, formula
from ludus.envs.math.numbers import write_number
from ludus.envs.math.questions import QuestionEnv
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent


class Arithmetic(QuestionEnv):
    """Work out one arithmetic expression, and answer in tags.

    ## Task
    Addition, subtraction, multiplication and division of integers, alone or nested, written as a formula
    (`12 + (3 * 4) = ?`) or in words ("Subtract the product of 3 and 4 from 20."). Tasks are drawn from the
    seed and never run out. `task_name` is the formula without spaces (`12+(3*4)`), whatever the phrasing of
    the question.

    ## Observation
    `Chat`. After `reset`: a system message that names the tags, and a user message with the question; the
    question alone with `reply_format="plain"`. After the reply: one user message that says whether it was
    right, or what was wrong with its form.

    ## Actions
    `Reply`. In the exact format, `<think>8+7=15 5+6+1=12</think><answer>125</answer>`: reasoning, then one
    number. A number is an integer, a decimal (`1,234.0`, `.5`, `1e3`), or a fraction or mixed number in
    lowest terms (`7/2`, `3 1/2`), with or without a sign, thousands separators, a currency sign, and the
    LaTeX or Markdown that models put around it (`\\boxed{42}`). Nothing else counts as a number: no
    expression, range or list, no `nan` or `inf`, no fraction that can be reduced. With
    `reply_format="plain"` a reply is any text, and its last number is the answer.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `format` | 1 if the reply is nothing but tagged reasoning followed by a tagged number | 0.1 |
    | `partial_format` | ¼ for each of the four tags that occurs exactly once | 0.1 |
    | `closeness` | 1 / (1 + 10 d), d = abs(given − answer) / max(abs(answer), 1) | 0.1 |
    | `correct` | 1 if there is exactly one pair of answer tags and the number in it is right | 0.7 |
    | `malformed` | 1 if there is no such pair, or no single number in it | −0.1 |

    A perfect reply earns 1. With several answer tags, or anything but one number in them, `closeness` and
    `correct` are 0. A plain reply that names a number has all of the format.

    ## End of episode
    The first reply terminates the episode. `info["success"]` is whether `correct` is 1.

    ## Arguments
    - `operations` (`("add", "subtract", "multiply", "divide")`): the operations to draw from.
    - `digits` (2): the most digits of an operand, from 1 to 12.
    - `operands` (None): the range of operands, as (lowest, highest) with 0 ≤ lowest < highest, in place of
      `digits`. Factors, divisors and quotients are also at least 2, and a dividend is a product of two
      operands.
    - `depth` (1): operations on the longest path from the whole expression to a number, from 1 to 6.
    - `phrasing` (`"mixed"`): `"bare"` formulas, `"words"`, or a random mix of the two.
    - `fractions` (False): allow fractional quotients. Otherwise no division leaves a remainder; in nested
      expressions the divisor is 1 if no other operand divides evenly.
    - `reply_format` (`"tags"`): `"plain"` reads the last number of the text, as a model writes it unasked.
    - `think_tag` (`"think"`), `answer_tag` (`"answer"`): names of the tags.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric(
        {"format": 0.1, "partial_format": 0.1, "closeness": 0.1, "correct": 0.7, "malformed": -0.1},
        form=("format", "partial_format", "malformed"),
    )
    max_turns = 1

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        expression, value, messages = self.ask(rng)
        return Start(messages, formula(expression, ""), value)

    def respond(self, state: Number, text: str) -> Outcome:
        reading = self.reply_format.read(text)
        number = reading.number
        correct = number == state
        terms = {
            "format": float(reading.exact),
            "partial_format": reading.partial,
            "closeness": 0.0 if number is None else closeness(state, number),
            "correct": float(correct),
            "malformed": float(number is None),
        }
        said = [user(self.feedback(state, number))]
        return Outcome(state, said, terms, True, correct, self.failure(state, number))

    def anchor(self, state: Number) -> int:
        return 0  # every reply ends the episode, so that a task has one state

    def expected(self, state: Number) -> str:
        return write_number(state)
