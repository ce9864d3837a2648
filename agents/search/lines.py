"""Criteria for choosing a line of play: its rewards, its likelihood, its answer."""

import json
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from ludus.agents.answers import answer_form, arguments_form
from ludus.agents.search.branches import Node, SearchError
from ludus.envs.chat import reply_text, reply_tool_calls

Score = Callable[[Node], float]
"""How good a state is; higher is better."""

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.S)


def earned(node: Node) -> float:
    """The rewards in the copy. A choice by them has seen the verdict: it gives an upper bound, as pass@k
    does, and does not measure a policy that must decide alone."""
    return node.reward


def likelihood(node: Node) -> float:
    """Mean log-probability of all sampled tokens, in nats: the policy's own opinion of the line.

    Raises:
        SearchError: the policy gives no log-probabilities.
    """
    logprobs = [value for action in node.actions for value in action.logprobs]
    if not logprobs:
        raise SearchError(
            "the policy gives no log-probabilities to choose by: use an engine, or token_ids=True"
        )
    return sum(logprobs) / len(logprobs)


def final_answer(node: Node) -> Hashable:
    """The content of the last reply: its calls, else the text of its last `<answer>`, else the whole text, in
    the form in which a judge would take them for the same. None if it is empty."""
    reply = node.steps[-1].action.reply
    functions = [call.get("function") for call in reply_tool_calls(reply)]
    if functions:
        return tuple(
            (str(function.get("name")), arguments_form(function.get("arguments")))
            if isinstance(function, Mapping)
            else ("", json.dumps(function, default=str))
            for function in functions
        )
    text = reply_text(reply)
    found = _ANSWER.findall(text)
    return answer_form(found[-1] if found else text) or None


def reply_key(reply: Any) -> Hashable:
    """Equal for equivalent replies."""
    calls = [call.get("function") for call in reply_tool_calls(reply)]
    return reply_text(reply), json.dumps(calls, sort_keys=True)
