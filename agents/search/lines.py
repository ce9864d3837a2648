"""What a line of play is chosen by: what it earned, how likely it was, what it answered."""

import json
import re
from collections.abc import Callable, Hashable
from typing import Any

from ludus.agents.search.branches import Node, SearchError
from ludus.envs.chat import reply_text, reply_tool_calls

Score = Callable[[Node], float]
"""How good a situation is; more is better."""

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.S)


def earned(node: Node) -> float:
    """What the environment paid in the copy. Whoever chooses by it has seen the verdict: an upper bound, as
    pass@k is, and no measure of a policy that must decide alone."""
    return node.reward


def likelihood(node: Node) -> float:
    """Mean log-probability of all sampled tokens, in nats: what the policy itself thinks of the line.

    Raises:
        SearchError: the policy gives no log-probabilities.
    """
    logprobs = [value for step in node.steps for value in step.action.logprobs]
    if not logprobs:
        raise SearchError(
            "the policy gives no log-probabilities to choose by: use an engine, or token_ids=True"
        )
    return sum(logprobs) / len(logprobs)


def final_answer(node: Node) -> Hashable:
    """What the last reply says: its calls; else what stands in its last `<answer>`; else its words. None
    where it says nothing. Capitals and white space make no difference."""
    reply = node.steps[-1].action.reply
    calls = [call.get("function") for call in reply_tool_calls(reply)]
    if calls:
        return json.dumps(calls, sort_keys=True)
    text = reply_text(reply)
    found = _ANSWER.findall(text)
    return " ".join((found[-1] if found else text).casefold().split()) or None


def reply_key(reply: Any) -> Hashable:
    """Equal for replies that say the same."""
    calls = [call.get("function") for call in reply_tool_calls(reply)]
    return reply_text(reply), json.dumps(calls, sort_keys=True)
