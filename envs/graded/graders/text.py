"""Graders that compare texts: `string_check`, `text_similarity`, `regex`."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from math import sqrt
from typing import Any, Literal

from pydantic import model_validator

from ludus.envs.faults import EnvironmentFault
from ludus.envs.graded.graders.base import PATTERN_S, Grade, Grader, TextGrader, compiles, shown
from ludus.envs.graded.server import ServerAddress, embeddings
from ludus.envs.graded.templates import Sample, TemplateText, fill


class StringCheck(TextGrader):
    """The answer is the reference, or contains it."""

    type: Literal["string_check"]
    operation: Literal["eq", "ne", "like", "ilike"] = "eq"
    """`eq`: they are equal; `ne`: they are not; `like`: the answer contains the reference; `ilike`: the same,
    in upper or lower case."""
    reference: TemplateText

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        answer = self.extracted(item, sample)
        if isinstance(answer, Grade):
            return answer
        reference = self.of_reference(fill(self.reference, item, sample))
        match self.operation:
            case "eq":
                right = answer == reference
            case "ne":
                right = answer != reference
            case "like":
                right = bool(reference) and reference in answer
            case "ilike":
                right = bool(reference) and reference.casefold() in answer.casefold()
        return Grade(float(right), f"{shown(answer)} {self.operation} {shown(reference)}: {_said(right)}")


Metric = Literal["exact", "fuzzy", "bleu", "rouge_1", "rouge_2", "rouge_l", "cosine"]


class TextSimilarity(TextGrader):
    """How similar the answer is to the reference, from 0 to 1."""

    type: Literal["text_similarity"]
    evaluation_metric: Metric
    """`exact`: the same words in any case; `fuzzy`: 1 − edits / length, an edit adding or removing a
    character (rapidfuzz); `bleu`: of one sentence (sacrebleu); `rouge_1`, `rouge_2`, `rouge_l`: the F1 of
    words, pairs of words, the longest common subsequence of words (Lin, 2004); `cosine`: of two
    embeddings."""
    reference: TemplateText
    embedder: ServerAddress = ""
    """For `cosine`: a server with OpenAI's interface and the model's name, `http://…/v1#NAME`."""

    @model_validator(mode="after")
    def _consistent(self) -> "TextSimilarity":
        if (self.evaluation_metric == "cosine") != bool(self.embedder):
            raise ValueError(
                'embedder and evaluation_metric = "cosine" need each other; give both or neither'
            )
        return self

    def prepare(self) -> None:
        super().prepare()
        if (module := _MODULES.get(self.evaluation_metric)) is not None:
            import_module(module)

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        answer = self.extracted(item, sample)
        if isinstance(answer, Grade):
            return answer
        reference = self.of_reference(fill(self.reference, item, sample))
        score = self._score(answer, reference)
        return Grade(
            score, f"{shown(answer)} against {shown(reference)}: {self.evaluation_metric} {score:.3f}"
        )

    def _score(self, answer: str, reference: str) -> float:
        match self.evaluation_metric:
            case "exact":
                return float(answer.casefold().split() == reference.casefold().split())
            case "fuzzy":
                return float(import_module("rapidfuzz.fuzz").ratio(answer, reference)) / 100
            case "bleu":
                sacrebleu = import_module("sacrebleu")
                return min(1.0, sacrebleu.sentence_bleu(answer, [reference]).score / 100)
            case "rouge_1" | "rouge_2":
                size = int(self.evaluation_metric[-1])
                ours, theirs = (_grams(_words(text), size) for text in (answer, reference))
                return _f1((ours & theirs).total(), ours.total(), theirs.total())
            case "rouge_l":
                left, right = _words(answer), _words(reference)
                common = import_module("rapidfuzz.distance").LCSseq.similarity(left, right)
                return _f1(common, len(left), len(right))
            case "cosine":
                vectors = [_embedding(self.embedder, text) for text in (answer, reference)]
                if len(set(map(len, vectors))) > 1:
                    raise EnvironmentFault(f"{self.embedder} gave embeddings of different lengths")
                return _cosine(*vectors)


class Regex(Grader):
    """A regular expression is found in the answer."""

    type: Literal["regex"]
    pattern: TemplateText
    """Searched for in `input`. A value that is filled in stands for itself: its special characters are
    escaped."""
    input: TemplateText = "{{sample.output_text}}"

    @model_validator(mode="after")
    def _compiles(self) -> "Regex":
        compiles(re.sub(r"\{\{.*?\}\}", "x", self.pattern, flags=re.DOTALL))
        return self

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        regex = import_module("regex")
        pattern, text = fill(self.pattern, item, sample, regex.escape), fill(self.input, item, sample)
        try:
            found = regex.search(pattern, text, timeout=PATTERN_S)
        except TimeoutError:
            return Grade(0.0, f"{shown(pattern)} took longer than {PATTERN_S:g} s")
        said = f"{shown(pattern)} found as {shown(found[0])}" if found else f"{shown(pattern)} not found"
        return Grade(float(found is not None), said)


_MODULES = {"fuzzy": "rapidfuzz", "rouge_l": "rapidfuzz", "bleu": "sacrebleu"}


def _said(right: bool) -> str:
    return "yes" if right else "no"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))


def _f1(common: int, given: int, wanted: int) -> float:
    return 2 * common / (given + wanted) if common else 0.0


@lru_cache(maxsize=10_000)
def _embedding(embedder: str, text: str) -> tuple[float, ...]:
    return embeddings(embedder, text)


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """At least 0: of opposite directions, too."""
    size = sqrt(sum(x * x for x in left) * sum(x * x for x in right))
    return max(0.0, min(1.0, sum(x * y for x, y in zip(left, right, strict=True)) / size)) if size else 0.0
