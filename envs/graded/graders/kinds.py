"""All kinds of graders by name, and `multi`, which is made of others."""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from ludus.envs.graded.graders.base import Grade, Grader
from ludus.envs.graded.graders.judged import LabelModel, ScoreModel
from ludus.envs.graded.graders.mathematics import Math
from ludus.envs.graded.graders.programs import Python, Tests
from ludus.envs.graded.graders.text import Regex, StringCheck, TextSimilarity
from ludus.envs.graded.graders.tool_calls import ToolCalls
from ludus.envs.graded.graders.values import JsonSchema, Number
from ludus.envs.graded.templates import Sample


class Multi(Grader):
    """A formula of other graders' scores."""

    type: Literal["multi"]
    graders: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], "AnyGrader"]
    """The graders by name."""
    calculate_output: str
    """A formula of their names and of numbers: `+ - * / **`, brackets, `min`, `max`, `abs`, `floor`, `ceil`,
    `sqrt`, `exp`, `log`. What it gives is cut to 0 … 1; what it does not define is 0."""

    @model_validator(mode="after")
    def _consistent(self) -> "Multi":
        with suppress(ArithmeticError):  # it may have a value for other scores
            calculate(self.calculate_output, dict.fromkeys(self.graders, 1.0))
        return self

    @property
    def inner(self) -> Sequence[Grader]:
        return tuple(self.graders.values())

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        parts = {name: grader.grade(item, sample) for name, grader in self.graders.items()}
        try:
            score = calculate(self.calculate_output, {name: part.score for name, part in parts.items()})
        except ArithmeticError as error:
            return Grade(0.0, f"{self.calculate_output}: {error}", parts)
        said = ", ".join(f"{name} {part.score:g}" for name, part in parts.items())
        return Grade(min(1.0, max(0.0, score)), f"{self.calculate_output} = {score:g} with {said}", parts)

    def answer(self, item: Mapping[str, Any]) -> Sample | None:
        found = (grader.answer(item) for grader in self.graders.values())
        return next((sample for sample in found if sample is not None), None)


AnyGrader = Annotated[
    StringCheck | TextSimilarity | Regex | Number | JsonSchema | Math | Python | Tests | ToolCalls
    | LabelModel | ScoreModel | Multi,
    Field(discriminator="type"),
]  # fmt: skip
Multi.model_rebuild()
KINDS: dict[str, type[Grader]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(AnyGrader)[0])
}
"""Every kind by the `type` that names it."""

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min, "max": max, "abs": abs, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt,
    "exp": math.exp, "log": math.log,
}  # fmt: skip


def calculate(formula: str, scores: Mapping[str, float]) -> float:
    """The value of a formula of scores.

    Raises:
        ValueError: it is no such formula, or names a score that there is not.
        ArithmeticError: it has no real value, such as a division by 0.
    """

    def value(node: ast.AST) -> float:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.Name(id=name) if name in scores:
                return scores[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _real(_OPERATORS[type(op)], value(left), value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _real(_OPERATORS[type(op)], value(operand))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
                return _real(_FUNCTIONS[name], *map(value, args))
        raise ValueError(
            f"calculate_output: {ast.unparse(node)!r} cannot be calculated; there are numbers, "
            f"{', '.join(scores)} and {', '.join(_FUNCTIONS)}"
        )

    try:
        tree = ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"calculate_output = {formula!r:.80} is no formula") from None
    return value(tree)


def _real(function: Callable[..., Any], *arguments: float) -> float:
    try:
        result = function(*arguments)
    except (ValueError, TypeError) as error:
        raise ArithmeticError(str(error)) from None
    if isinstance(result, complex) or not math.isfinite(result):
        raise ArithmeticError("no real number")
    return float(result)
