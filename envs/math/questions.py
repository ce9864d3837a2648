"""`QuestionEnv`: base class, with the shared arguments, of environments that ask arithmetic questions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ludus.envs.arguments import as_choice, as_choices, as_flag, as_integer, as_weights
from ludus.envs.base import ChatEnv
from ludus.envs.chat import Chat, system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.math.answers import Plain, ReplyFormat, Tags
from ludus.envs.math.expressions import OPERATIONS, Expression, Number, Recipe, draw, formula, in_words
from ludus.envs.math.numbers import write_number

PHRASINGS = ("bare", "words", "mixed")
REPLY_FORMATS = ("tags", "plain")


class QuestionEnv(ChatEnv):
    """Asks for the value of an expression; the answer is one number, in tags or at the end of plain text.

    A subclass has its own `rubric`; the argument `weights` changes its weights.
    """

    def __init__(
        self,
        operations: Sequence[str] = OPERATIONS,
        digits: int = 2,
        operands: tuple[int, int] | None = None,
        depth: int = 1,
        phrasing: str = "mixed",
        fractions: bool = False,
        reply_format: str = "tags",
        think_tag: str = "think",
        answer_tag: str = "answer",
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        digits = as_integer("digits", digits, 1, 12)
        low, high = (0, 10**digits - 1) if operands is None else _checked_operands(operands)
        self.recipe = Recipe(
            operations=as_choices("operations", operations, OPERATIONS),
            low=low,
            high=high,
            depth=as_integer("depth", depth, 1, 6),
            fractions=as_flag("fractions", fractions),
        )
        self.phrasing = as_choice("phrasing", phrasing, PHRASINGS)
        tags = Tags(think_tag, answer_tag)
        plain = as_choice("reply_format", reply_format, REPLY_FORMATS) == "plain"
        self.reply_format: ReplyFormat = Plain() if plain else tags
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))
        self._instructions = self.reply_format.instructions(fractions)

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"operands": ((0, 9), (0, 49), (0, 99), (0, 999), (0, 9999)), "depth": (1, 2, 3)}

    def ask(self, rng: np.random.Generator) -> tuple[Expression, Number, Chat]:
        """An expression, its value, and the messages that ask for it."""
        raw = rng.bit_generator.random_raw
        expression, value = draw(raw, self.recipe)
        instructions = [system(self._instructions)] if self._instructions else []
        return expression, value, [*instructions, user(self._question(raw(), expression))]

    def feedback(self, answer: Number, given: Number | None) -> str:
        """The user's response to the last reply."""
        if given is None:
            return f"No answer found: {self.reply_format.reminder}."
        return "Correct." if given == answer else f"Wrong: the answer is {write_number(answer)}."

    def failure(self, answer: Number, given: Number | None) -> str:
        """Why an answer is wrong; empty if it is right."""
        if given is None:
            return "no number that could be read"
        return "" if given == answer else f"answered {write_number(given)}"

    def _question(self, bits: int, expression: Expression) -> str:
        """The question, in a form chosen by random bits."""
        if self.phrasing == "bare" or (self.phrasing == "mixed" and bits & 1):
            return formula(expression) + " = ?"
        return in_words(expression, (bits >> 1) % 3)


def _checked_operands(operands: Any) -> tuple[int, int]:
    if not isinstance(operands, Sequence) or isinstance(operands, str) or len(operands) != 2:
        raise ArgumentError(
            f"operands={operands!r}: give the lowest and the highest operand, as in operands=(10, 99)"
        )
    low, high = (as_integer("operands", number, 0, 10**12) for number in operands)
    if low >= high or high < 2:
        raise ArgumentError(f"operands={operands!r}: the highest must be at least 2 and above the lowest")
    return low, high
