"""What one episode contributes to the figures: a small record, computed from the episode alone."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ludus.agents.episode import Episode, StopReason
from ludus.envs.chat import content_text, reply_text, reply_tool_calls

UNKNOWN_TOOL = "unknown tool"
MALFORMED = "malformed JSON"
WRONG_ARGUMENTS = "wrong arguments"
TOO_MANY = "too many calls"
REFUSED = "tool said no"
ERROR_KINDS = (UNKNOWN_TOOL, MALFORMED, WRONG_ARGUMENTS, TOO_MANY, REFUSED)
"""What can be wrong with a tool call, by whose words answered it: the environment's, or the tool's own."""

_ANSWER_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FINAL_TOOLS = frozenset({"submit", "answer", "submit_answer", "final_answer"})


@dataclass(frozen=True, slots=True)
class Result:
    """One episode in figures."""

    task: int
    """Which of the list's tasks: its place in `TaskList.starts`."""
    sample: int
    """Which of the task's repeats."""
    key: str
    """`info["task"]` as it was played; empty where the environment broke before it said."""
    reward: float
    success: bool
    stop: str
    fault: str = ""
    turns: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_seconds: float = 0.0
    step_seconds: float = 0.0
    calls: int = 0
    """Tool calls."""
    errors: dict[str, int] = field(default_factory=dict)
    """Tool calls that went wrong, by `ERROR_KINDS`."""
    answer: str | None = None
    """The final answer, in one spelling; None where there is nothing to vote on."""

    @property
    def is_fault(self) -> bool:
        return self.stop in (StopReason.ENVIRONMENT_FAULT, StopReason.ENGINE_FAULT)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(episode: Episode) -> Result:
    errors = Counter(kind for kind in call_errors(episode) if kind)
    return Result(
        task=episode.group,
        sample=episode.sample,
        key=str(episode.task),
        reward=episode.episode_return,
        success=episode.success,
        stop=episode.stop.value,
        fault=episode.fault,
        turns=len(episode.turns),
        prompt_tokens=sum(turn.prompt_tokens for turn in episode.turns),
        completion_tokens=sum(turn.completion_tokens for turn in episode.turns),
        model_seconds=sum(turn.generate_seconds for turn in episode.turns),
        step_seconds=sum(turn.step_seconds for turn in episode.turns),
        calls=sum(len(reply_tool_calls(turn.reply)) for turn in episode.turns),
        errors=dict(errors),
        answer=final_answer(episode),
    )


def final_answer(episode: Episode) -> str | None:
    """What the last reply answers: the text between its only pair of answer tags, or the arguments of its
    last call of a tool that submits. Programs and patches that are submitted so count as answers too; an
    episode that ends in a state of the world, and not in a statement, has none."""
    if episode.is_fault or not episode.turns:
        return None
    reply = episode.turns[-1].reply
    for call in reversed(reply_tool_calls(reply)):
        function = call.get("function")
        if isinstance(function, Mapping) and function.get("name") in _FINAL_TOOLS:
            return _spelled(function.get("arguments", {})) or None
    tagged = _ANSWER_TAGS.findall(reply_text(reply))
    return " ".join(tagged[0].split()).casefold() or None if len(tagged) == 1 else None


def call_errors(episode: Episode) -> list[str]:
    """For each tool call, in order: what was wrong with it, one of `ERROR_KINDS`, or nothing.

    The environment answers calls in order, each with a `tool` message; what was wrong is told by its text."""
    kinds: list[str] = []
    observations = [*(turn.observation for turn in episode.turns), episode.final_observation]
    for turn, observed in zip(episode.turns, observations[1:], strict=True):
        calls = reply_tool_calls(turn.reply)
        answers = [content_text(message) for message in observed if message["role"] == "tool"]
        kinds += [_kind(call, answer) for call, answer in zip(calls, answers, strict=False)]
    return kinds


def _kind(call: Mapping[str, Any], answer: str) -> str:
    """Follows the words of `ToolEnv` and `Tool.read`; the tests hold the three together."""
    if not answer.startswith("Error: "):
        return ""
    text = answer.removeprefix("Error: ")
    if text.startswith(("there is no tool", "there are no tools")):
        return UNKNOWN_TOOL
    if text.startswith("a call has the form"):
        return MALFORMED
    if text.startswith("only ") and text.endswith("calls are carried out in one reply"):
        return TOO_MANY
    function = call.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not text.startswith(f"{name}: "):
        return REFUSED
    malformed = ("arguments are not valid JSON", "arguments must be a JSON object", "nested too deeply")
    return MALFORMED if any(words in text for words in malformed) else WRONG_ARGUMENTS


def _spelled(arguments: Any) -> str:
    """One spelling for arguments that mean the same: keys in order, letters of one case."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return " ".join(str(arguments).split()).casefold()
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str).casefold()
