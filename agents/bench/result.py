"""What one episode contributes to the metrics: a small record, computed from the episode alone."""

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
"""The kinds of failed tool calls, told apart by who answered: the environment or the tool itself."""

_ANSWER_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FINAL_TOOLS = frozenset({"submit", "answer", "submit_answer", "final_answer"})


@dataclass(frozen=True, slots=True)
class Result:
    """The metrics of one episode."""

    task: int
    """Index of its task in `TaskList.starts`."""
    sample: int
    """Index of the repeat."""
    key: str
    """`info["task"]` as it was played; empty if the environment broke before it gave one."""
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
    """Failed tool calls, by `ERROR_KINDS`."""
    answer: str | None = None
    """The final answer, normalised; None if there is nothing to vote on."""

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
    """The answer in the last reply: the text between its only pair of answer tags, or the arguments of its
    last call to a tool that submits. Submitted programs and patches count as answers too; an episode that
    ends in a state of the world rather than a statement has none."""
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
    """For each tool call, in order: its error, one of `ERROR_KINDS`, or an empty string.

    The environment answers calls in order, each with a `tool` message whose text tells what was wrong."""
    kinds: list[str] = []
    observations = [*(turn.observation for turn in episode.turns), episode.final_observation]
    for turn, observed in zip(episode.turns, observations[1:], strict=True):
        calls = reply_tool_calls(turn.reply)
        answers = [content_text(message) for message in observed if message["role"] == "tool"]
        kinds += [_kind(call, answer) for call, answer in zip(calls, answers, strict=False)]
    return kinds


def _kind(call: Mapping[str, Any], answer: str) -> str:
    """Matches the wording of `ToolEnv` and `Tool.read`; the tests keep the three in step."""
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
    """One form for arguments that mean the same: keys sorted, letters in one case."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return " ".join(str(arguments).split()).casefold()
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str).casefold()
