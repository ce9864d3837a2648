"""The final answer of an episode, and votes over answers.

Answers that a judge takes for the same have one form: numbers by value, however they are written; a unit
given apart, after the number, or not at all; lists as sets; texts without case, spaces, an article and marks
around them.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.episode import Episode
from ludus.agents.statistics import Bounds, mean
from ludus.envs.assistant.search.questions import plain
from ludus.envs.assistant.weather.goals import read_unit
from ludus.envs.chat import reply_text, reply_tool_calls
from ludus.envs.math.numbers import parse_number

_ANSWER_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FINAL_TOOLS = frozenset({"submit", "answer", "submit_answer", "final_answer"})
_QUANTITY = re.compile(r"([-+−]?(?:\d[\d,.]*|\.\d+))\s*(\D{1,30})")
_ABSENT: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Vote:
    """One sample's answer."""

    answer: str | None
    """In its form for votes; None has no vote."""
    success: bool


def final_answer(episode: Episode) -> str | None:
    """The answer in the last reply, in its form for votes: the text between its only pair of answer tags, or
    the arguments of its last call to a tool that submits. Submitted programs and patches count as answers
    too; an episode that ends in a state of the world rather than a statement has none."""
    if not episode.is_scored or not episode.turns:
        return None
    reply = episode.turns[-1].reply
    for call in reversed(reply_tool_calls(reply)):
        function = call.get("function")
        if isinstance(function, Mapping) and function.get("name") in _FINAL_TOOLS:
            return arguments_form(function.get("arguments")) or None
    tagged = _ANSWER_TAGS.findall(reply_text(reply))
    return answer_form(tagged[0]) or None if len(tagged) == 1 else None


def arguments_form(arguments: Any) -> str:
    """`answer_form` of a tool call's arguments, which may be the JSON of an object."""
    if isinstance(arguments, str):
        try:
            return answer_form(json.loads(arguments))
        except (ValueError, RecursionError):
            return answer_form(arguments)
    return answer_form(arguments)


def answer_form(value: Any) -> str:
    """The one form of all answers that a judge takes for this one; empty if there is nothing in it."""
    try:
        form = _canonical(value)
    except RecursionError:  # nested as no judge reads it
        return ""
    return form if isinstance(form, str) else json.dumps(form, ensure_ascii=False)


def majority(votes: Sequence[Vote], unscored: int = 0) -> tuple[float, Bounds]:
    """Success of the most common answer among a task's samples; 0 if none has an answer.

    Samples that share an answer may still differ in success, and answers may tie; the result is then the mean
    over them.

    Args:
        unscored: samples without a score. In the bounds, all of them vote for the strongest wrong answer,
            and all for the strongest right one.
    """
    by_answer = voters_by_answer(votes)
    value = _leading(by_answer)
    if not unscored:
        return value, Bounds(value, value)
    ends = []
    for success in (False, True):
        alike = [voters for voters in by_answer if all(voter == success for voter in voters)]
        strongest = max(alike, key=len, default=[])
        others = [voters for voters in by_answer if voters is not strongest]
        ends.append(_leading([*others, [*strongest, *[success] * unscored]]))
    return value, Bounds(*ends)


def is_voted_on(votes: Sequence[Vote]) -> bool:
    """Whether these samples, of all tasks of an environment, succeed by an answer: some have one, and so have
    most of those that succeed."""
    won = [vote.answer is not None for vote in votes if vote.success]
    return sum(won) > len(won) / 2 if won else any(vote.answer is not None for vote in votes)


def voters_by_answer(votes: Sequence[Vote]) -> list[list[bool]]:
    """The successes of those who gave the same answer. A number without a unit joins the same number with
    one, which the question states."""
    found: dict[str, list[bool]] = defaultdict(list)
    for vote in votes:
        if vote.answer is not None:
            found[vote.answer].append(vote.success)
    for bare in [answer for answer in found if " " not in answer]:
        with_unit = [answer for answer in found if answer.startswith(f"{bare} ")]
        if with_unit and parse_number(bare) is not None:
            found[max(with_unit, key=lambda answer: len(found[answer]))] += found.pop(bare)
    return list(found.values())


def _leading(by_answer: Sequence[Sequence[bool]]) -> float:
    most = max(map(len, by_answer), default=0)
    return mean([mean(voters) for voters in by_answer if len(voters) == most]) if most else 0.0


def _canonical(value: Any) -> Any:
    """Texts, sorted lists, and tables of at least two fields."""
    if isinstance(value, Mapping):
        fields = {str(key): item for key, item in value.items() if item not in _ABSENT}
        unit = fields.pop("unit", "") if len(fields) == 2 else ""
        forms = {key: _canonical(item) for key, item in sorted(fields.items())}
        if len(forms) != 1:
            return forms or ""
        (form,) = forms.values()
        return _quantity(form, unit) if isinstance(unit, str) and unit and isinstance(form, str) else form
    if isinstance(value, list | tuple):
        forms_by_text = {json.dumps(form): form for form in map(_canonical, value)}
        return [forms_by_text[text] for text in sorted(forms_by_text)]
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return _text(value if isinstance(value, str) else repr(value))


def _text(text: str) -> str:
    if (number := parse_number(text.strip().strip("\"'"))) is not None:
        return str(number)
    quantity = _QUANTITY.fullmatch(text.strip()[:100])
    if quantity is not None and read_unit(quantity[2]) is not None:
        number = parse_number(quantity[1])
        return _quantity(quantity[1] if number is None else str(number), quantity[2])
    return plain(text)


def _quantity(number: str, unit: str) -> str:
    return f"{number} {read_unit(unit) or plain(unit)}"
