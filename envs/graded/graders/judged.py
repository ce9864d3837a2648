"""Graders that ask a language model: `label_model`, `score_model`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from ludus.envs.faults import EnvironmentFault
from ludus.envs.graded.graders.base import Grade, Grader, shown
from ludus.envs.graded.server import ServerAddress, completion
from ludus.envs.graded.templates import Sample, TemplateText, fill
from ludus.tools.errors import UserError
from ludus.tools.judging.prompt import judge_messages
from ludus.tools.judging.verdict import Labels, Scale, answer_schema


class Judged(Grader):
    """A language model judges by a rubric. What it judges is fenced: it reads it as data, not as
    instructions. A judge that does not answer, or gives no verdict, is a fault, not a score."""

    is_slow = True

    model: ServerAddress
    """The judge: a server with OpenAI's interface and the model's name, `http://localhost:8000/v1#NAME`."""
    rubric: TemplateText
    """What is judged, and how; `{{item.answer}}` in it tells the judge the reference."""
    question: TemplateText = ""
    """What the answer is to, for the judge to read."""
    input: TemplateText = "{{sample.output_text}}"
    """What is judged."""

    def verdict(self, form: Labels | Scale, item: Mapping[str, Any], sample: Sample) -> Any:
        """
        Raises:
            EnvironmentFault: there is none.
        """
        task = [("question", text)] if (text := fill(self.question, item, sample)) else []
        candidate = [("answer", fill(self.input, item, sample))]
        messages = judge_messages(fill(self.rubric, item, sample), form, task, candidate)
        answer = completion(self.model, messages, answer_schema(form))
        verdict = form.read(answer)
        if verdict is None:
            raise EnvironmentFault(f"the judge {self.model} gave no verdict: {shown(answer, 200)}")
        return verdict


class LabelModel(Judged):
    """A language model gives the answer a label."""

    type: Literal["label_model"]
    labels: list[str]
    passing_labels: list[str]
    """Those that score 1; the others score 0."""

    @model_validator(mode="after")
    def _consistent(self) -> "LabelModel":
        _as_value_error(Labels, tuple(self.labels))
        strange = [label for label in self.passing_labels if label not in self.labels]
        if strange or not self.passing_labels:
            raise ValueError(f"passing_labels = {self.passing_labels}: name some of labels = {self.labels}")
        return self

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        label = self.verdict(Labels(tuple(self.labels)), item, sample)
        return Grade(float(label in self.passing_labels), f"labelled {label!r}")


class ScoreModel(Judged):
    """A language model gives the answer a score."""

    type: Literal["score_model"]
    range: list[float] = [0.0, 10.0]  # noqa: RUF012 (pydantic copies it)
    """The worst and the best score; the grade is the share of the way between them."""

    @model_validator(mode="after")
    def _consistent(self) -> "ScoreModel":
        if len(self.range) != 2:
            raise ValueError(f"range = {self.range}: give the worst and the best score, as [0, 10]")
        _as_value_error(Scale, *self.range)
        return self

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        scale = Scale(*self.range)
        score = self.verdict(scale, item, sample)
        return Grade(scale.share(score), f"scored {score:g} of {scale.high:g}")


def _as_value_error(make: type, *arguments: Any) -> None:
    try:
        make(*arguments)
    except UserError as error:
        raise ValueError(str(error)) from None
