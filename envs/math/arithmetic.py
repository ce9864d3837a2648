"""`ludus/Arithmetic-v0`: one question of arithmetic, one reply."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.arguments import as_weights
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Chat, content_text, system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.math.answers import Tags, closeness, write_number
from ludus.envs.math.expressions import (
    OPERATIONS,
    Expression,
    Number,
    Recipe,
    draw,
    evaluate,
    formula,
    in_words,
    parse,
)
from ludus.envs.math.worked import worked
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

PHRASINGS = ("bare", "words", "mixed")
WEIGHTS: Mapping[str, float] = {
    "format": 0.1,
    "partial_format": 0.1,
    "closeness": 0.1,
    "correct": 0.7,
    "malformed": -0.1,
}


class Arithmetic(ChatEnv):
    """Work out one arithmetic expression, and answer in tags.

    ## Task
    Addition, subtraction, multiplication and division of integers, alone or nested, written as a formula
    (`12 + (3 * 4) = ?`) or in words ("Subtract the product of 3 and 4 from 20."). Tasks are drawn from the
    seed and never run out. `task_name` is the formula without spaces (`12+(3*4)`), however the question is
    phrased.

    ## Observation
    `Chat`. After `reset`: a system message that names the tags, and a user message with the question. After
    the reply: one user message that says whether it was right, or what was wrong with its form.

    ## Actions
    `Reply`. In the exact format, `<think>8+7=15 5+6+1=12</think><answer>125</answer>`: reasoning, then one
    number. A number is an integer, a decimal or a fraction in lowest terms, with or without a sign and
    thousands separators: `1,234.0` is `1234`. Nothing else is: no expression, no exponent, no `nan` or `inf`,
    no list.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `format` | 1 if the reply is exactly reasoning in its tags, then a number in its tags | 0.1 |
    | `partial_format` | ¼ for each of the four tags that occurs exactly once | 0.1 |
    | `closeness` | 1 / (1 + 10 d), d = abs(given − answer) / max(abs(answer), 1) | 0.1 |
    | `correct` | 1 if the one number between the one pair of answer tags equals the answer | 0.7 |
    | `malformed` | 1 if there is no such number | −0.1 |

    A perfect reply earns 1. With several answer tags, or anything but one number in them, `closeness` and
    `correct` are 0.

    ## End of episode
    The first reply terminates the episode. `info["success"]` is whether `correct` is 1.

    ## Arguments
    - `operations` (`("add", "subtract", "multiply", "divide")`): which ones to draw from.
    - `digits` (2): operands have at most this many digits, 1 to 12.
    - `operands` (None): the range of operands, as (lowest, highest) with 0 ≤ lowest < highest, in place of
      `digits`. Factors, divisors and quotients are also at least 2, and a dividend is a product of two
      operands.
    - `depth` (1): operations on the longest path from the whole expression to a number, 1 to 6.
    - `phrasing` (`"mixed"`): `"bare"` formulas, `"words"`, or either at random.
    - `fractions` (False): let quotients be fractions. Otherwise every division leaves no remainder; inside
      nested expressions a divisor of 1 then stands where no other operand divides.
    - `think_tag` (`"think"`), `answer_tag` (`"answer"`): names of the tags.
    - `weights` (None): weights of reward terms to change, by name.
    - `render_mode` (None): `"ansi"` lets `render()` return the conversation.

    ## Version history
    - v0: first version.
    """

    max_turns = 1

    def __init__(
        self,
        operations: Sequence[str] = OPERATIONS,
        digits: int = 2,
        operands: tuple[int, int] | None = None,
        depth: int = 1,
        phrasing: str = "mixed",
        fractions: bool = False,
        think_tag: str = "think",
        answer_tag: str = "answer",
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.recipe = checked_recipe(operations, digits, operands, depth, fractions)
        self.phrasing = checked_phrasing(phrasing)
        self.tags = Tags(think_tag, answer_tag)
        self.rubric = Rubric(as_weights(weights, WEIGHTS), form=("format", "partial_format", "malformed"))
        self._instructions = instructions(self.tags, fractions)

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        raw = rng.bit_generator.random_raw
        expression, value = draw(raw, self.recipe)
        question = phrase(raw(), expression, self.phrasing)
        messages = [system(self._instructions), user(question)]
        return Start(messages, formula(expression, ""), value)

    def respond(self, state: Number, text: str) -> Outcome:
        reading = self.tags.read(text)
        number = reading.number
        correct = number == state
        terms = {
            "format": float(reading.exact),
            "partial_format": reading.partial,
            "closeness": 0.0 if number is None else closeness(state, number),
            "correct": float(correct),
            "malformed": float(number is None),
        }
        return Outcome(state, [user(verdict(self.tags, state, number))], terms, True, correct)


def checked_recipe(
    operations: Sequence[str], digits: int, operands: tuple[int, int] | None, depth: int, fractions: bool
) -> Recipe:
    """The recipe that arguments ask for.

    Raises:
        ArgumentError: naming the argument, its value and what would be right.
    """
    chosen = (operations,) if isinstance(operations, str) else tuple(operations)
    unknown = [name for name in chosen if name not in OPERATIONS]
    if unknown or not chosen:
        raise ArgumentError(
            f"operations={operations!r}: {unknown[0]!r} is none; choose from {', '.join(OPERATIONS)}"
            if unknown
            else f"operations={operations!r} is empty; choose from {', '.join(OPERATIONS)}"
        )
    _check_integer("digits", digits, 1, 12)
    _check_integer("depth", depth, 1, 6)
    low, high = (0, 10**digits - 1) if operands is None else _checked_operands(operands)
    return Recipe(chosen, low, high, depth, bool(fractions))


def _check_integer(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ArgumentError(f"{name}={value!r}: give an integer from {least} to {most}")


def _checked_operands(operands: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(operands, tuple | list) or len(operands) != 2:
        raise ArgumentError(
            f"operands={operands!r}: give the lowest and the highest, as in operands=(10, 99)"
        )
    low, high = operands
    for number in operands:
        _check_integer("operands", number, 0, 10**12)
    if low >= high or high < 2:
        raise ArgumentError(f"operands={operands!r}: the highest must be at least 2 and above the lowest")
    return low, high


def checked_phrasing(phrasing: str) -> str:
    if phrasing not in PHRASINGS:
        raise ArgumentError(f"phrasing={phrasing!r} is not known; choose from {', '.join(PHRASINGS)}")
    return phrasing


def instructions(tags: Tags, fractions: bool) -> str:
    """The system message: few tokens, yet all that a model needs."""
    form = " (a fraction in lowest terms if need be)" if fractions else ""
    return (
        f"Reason in {tags.open_think}{tags.close_think}, then answer with one number{form} in "
        f"{tags.open_answer}{tags.close_answer}."
    )


def phrase(bits: int, expression: Expression, phrasing: str) -> str:
    """The question, its form chosen by random bits."""
    if phrasing == "bare" or (phrasing == "mixed" and bits & 1):
        return formula(expression) + " = ?"
    return in_words(expression, (bits >> 1) % 3)


def verdict(tags: Tags, answer: Number, number: Number | None) -> str:
    """What the user says to a last reply."""
    if number is None:
        return f"No answer found: write one number, once, in {tags.open_answer}{tags.close_answer}."
    return "Correct." if number == answer else f"Wrong: the answer is {write_number(answer)}."


def tags_in(observation: Chat) -> Tags:
    """The tags that a system message names."""
    think, answer = re.findall(r"<([\w-]+)></\1>", content_text(observation[0]))
    return Tags(think, answer)


class Null(ScriptedAgent):
    """Says nothing."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return ""


class RandomNumber(ScriptedAgent):
    """Writes in the exact format, and guesses a number up to 1000."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return tags_in(observation).write("a guess", str(self.rng.integers(1000)))


class Oracle(ScriptedAgent):
    """Reads the question, works it out step by step, and answers."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        expression = parse(content_text(observation[-1]))
        return tags_in(observation).write(worked(expression), write_number(evaluate(expression)))


class ManyAnswers(ScriptedAgent):
    """Cheats: every number up to 200, each in answer tags of its own."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        tags = tags_in(observation)
        every = "".join(f"{tags.open_answer}{number}{tags.close_answer}" for number in range(201))
        return f"{tags.open_think}one of these{tags.close_think}{every}"


class ListInOneTag(ScriptedAgent):
    """Cheats: every number up to 200 in one pair of tags."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return tags_in(observation).write("one of these", ", ".join(map(str, range(201))))


class Echo(ScriptedAgent):
    """Cheats: answers with the expression itself."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        expression = parse(content_text(observation[-1]))
        return tags_in(observation).write("it is equal to itself", formula(expression))


class Extreme(ScriptedAgent):
    """Cheats: answers that upset a careless comparison."""

    ANSWERS = ("nan", "inf", "-inf", "1e999", "9" * 5000, "True", "None", "*", "", "0/0", "1/0")

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.played = 0

    def begin(self) -> None:
        self.played += 1

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return tags_in(observation).write("what now?", self.ANSWERS[self.played % len(self.ANSWERS)])


class Constant(ScriptedAgent):
    """Cheats: the perfect format around the same number every time."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return tags_in(observation).write("always this", "42")


Arithmetic.scripted = {
    "null": Null,
    "random": RandomNumber,
    "oracle": Oracle,
    "cheater-many-answers": ManyAnswers,
    "cheater-list": ListInOneTag,
    "cheater-echo": Echo,
    "cheater-extreme": Extreme,
    "cheater-constant": Constant,
}
