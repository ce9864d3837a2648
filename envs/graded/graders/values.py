"""Graders that read the answer as a value: `number`, `json_schema`."""

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ludus.envs.graded.graders.base import Grade, Grader, TextGrader, shown
from ludus.envs.graded.templates import Sample, TemplateText, fill, value
from ludus.envs.math.numbers import parse_number
from ludus.tools.errors import DataError
from ludus.tools.wording import first_line

_BLOCK = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL)
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Number(TextGrader):
    """The answer is one number, equal to the reference.

    Numbers are read exactly: integers, decimals, fractions in lowest terms, thousands separators, a currency
    sign, LaTeX or Markdown around them. An answer that holds anything else is none.
    """

    type: Literal["number"]
    reference: TemplateText
    tolerance: NotNegative = 0.0
    """How far off it may be."""
    relative_tolerance: NotNegative = 0.0
    """How far off it may be, as a share of the reference."""

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        answer = self.extracted(item, sample)
        if isinstance(answer, Grade):
            return answer
        reference = self.of_reference(fill(self.reference, item, sample))
        given, wanted = parse_number(answer), parse_number(reference)
        if given is None or wanted is None:
            return Grade(0.0, f"{shown(reference if wanted is None else answer)} is no number")
        off, size = abs(Fraction(given) - Fraction(wanted)), abs(Fraction(wanted))
        # As they are written: 0.1 is a tenth here, and no binary fraction near it.
        absolute, relative = Fraction(str(self.tolerance)), Fraction(str(self.relative_tolerance))
        right = off <= max(absolute, relative * size)
        return Grade(float(right), f"{shown(answer)} is {'' if right else 'not '}{shown(reference)}")


class JsonSchema(Grader):
    """The answer is JSON, alone or in one code block, that fits a schema (draft 2020-12)."""

    type: Literal["json_schema"]
    needs = ("jsonschema",)
    schema_: dict[str, Any] | TemplateText = Field(alias="schema")
    """The schema; or the item's, as `{{item.schema}}`."""
    input: TemplateText = "{{sample.output_text}}"

    @field_validator("schema_")
    @classmethod
    def _is_schema(cls, schema: Any) -> Any:
        return _schema(schema) if isinstance(schema, dict) else schema

    @property
    def templates(self) -> list[str]:
        own = [self.schema_] if isinstance(self.schema_, str) else []
        return [self.input, *own]

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        schema: Any = self.schema_
        if isinstance(schema, str):
            schema = value(schema, item, sample)
            try:
                schema = _schema(json.loads(schema) if isinstance(schema, str) else schema)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{self.schema_} is not a schema: {first_line(error)[:200]}") from None
        text = fill(self.input, item, sample)
        blocks = _BLOCK.findall(text)
        try:
            given = json.loads(blocks[0] if len(blocks) == 1 else text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return Grade(0.0, f"not JSON: {str(error)[:100]}")
        # An empty registry, so that a reference to elsewhere is never fetched.
        registry = import_module("referencing").Registry()
        validator = import_module("jsonschema").Draft202012Validator(schema, registry=registry)
        try:
            problem = next(validator.iter_errors(given), None)
        except RecursionError:
            return Grade(0.0, "nested too deeply")
        except import_module("referencing.exceptions").Unresolvable as error:
            raise DataError(f"the schema refers to what is not in it: {first_line(error)}") from None
        if problem is None:
            return Grade(1.0, "fits the schema")
        place = ".".join(map(str, problem.absolute_path)) or "the answer"
        return Grade(0.0, f"{place}: {shown(problem.message, 200)}")


def _schema(schema: Any) -> Any:
    """The schema itself.

    Raises:
        ValueError: it is none.
    """
    jsonschema = import_module("jsonschema")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"no JSON schema: {error.message[:200]}") from None
    return schema


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
