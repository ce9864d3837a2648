"""What one episode contributes to the metrics: a small record, computed from the episode alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ludus.agents.answers import final_answer
from ludus.agents.episode import Episode, StopReason
from ludus.envs.chat import content_text, reply_tool_calls

UNKNOWN_TOOL = "unknown tool"
MALFORMED = "malformed JSON"
WRONG_ARGUMENTS = "wrong arguments"
TOO_MANY = "too many calls"
REFUSED = "tool said no"
ERROR_KINDS = (UNKNOWN_TOOL, MALFORMED, WRONG_ARGUMENTS, TOO_MANY, REFUSED)
"""The kinds of failed tool calls, told apart by who answered: the environment or the tool itself."""

_VERDICTS = {
    StopReason.TERMINATED: "wrong",
    StopReason.TRUNCATED: "out of turns",
    StopReason.TURN_LIMIT: "out of turns",
    StopReason.TOKEN_LIMIT: "out of tokens",
    StopReason.TIME_LIMIT: "out of time",
    StopReason.GIVEN_UP: "given up",
    StopReason.REFUSED: "refused by the server",
    StopReason.ENVIRONMENT_FAULT: "fault of the environment",
    StopReason.ENGINE_FAULT: "fault of the engine",
}
VERDICTS = ("success", *dict.fromkeys(_VERDICTS.values()))
"""What became of an episode: every episode has exactly one."""


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
    reasoning_tokens: int = 0
    """Part of the completion tokens."""
    cached_tokens: int = 0
    """Part of the prompt tokens."""
    cost: float = 0.0
    """What the server says that the episode cost; 0 if it does not."""
    turn_seconds: tuple[float, ...] = ()
    """How long the model took, turn by turn."""
    step_seconds: float = 0.0
    cut: int = 0
    """Replies that the token limit cut off."""
    malformed: int = 0
    """Replies that the server itself refused as malformed."""
    calls: int = 0
    """Tool calls."""
    errors: dict[str, int] = field(default_factory=dict)
    """Failed tool calls, by `ERROR_KINDS`."""
    answer: str | None = None
    """The final answer in its form for votes; None if there is nothing to vote on."""
    kind: str = ""
    """The kind of task, such as `warmest`; empty if the environment has one kind."""
    expected: str = ""
    failure: str = ""
    """Why it failed."""

    @property
    def model_seconds(self) -> float:
        return sum(self.turn_seconds)

    @property
    def is_fault(self) -> bool:
        return self.stop in (StopReason.ENVIRONMENT_FAULT, StopReason.ENGINE_FAULT)

    @property
    def is_refusal(self) -> bool:
        return self.stop == StopReason.REFUSED

    @property
    def is_scored(self) -> bool:
        return not (self.is_fault or self.is_refusal)

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        return "success" if self.is_scored and self.success else _VERDICTS[StopReason(self.stop)]

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Result":
        """Of what `to_dict` gave, also after JSON."""
        return cls(**{**fields, "turn_seconds": tuple(fields["turn_seconds"])})

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
        reasoning_tokens=sum(turn.reasoning_tokens for turn in episode.turns),
        cached_tokens=sum(turn.cached_tokens for turn in episode.turns),
        cost=sum(turn.cost for turn in episode.turns),
        turn_seconds=tuple(turn.generate_seconds for turn in episode.turns),
        step_seconds=sum(turn.step_seconds for turn in episode.turns),
        cut=sum(turn.finish == "length" for turn in episode.turns),
        malformed=sum(turn.finish == "malformed" for turn in episode.turns),
        calls=sum(len(reply_tool_calls(turn.reply)) for turn in episode.turns),
        errors=dict(errors),
        answer=final_answer(episode),
        kind=episode.task_kind,
        expected=episode.expected,
        failure=episode.failure,
    )


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
