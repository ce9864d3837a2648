"""What an episode contributes: kinds of tool errors as the environment itself words them, final answers."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ludus.agents.bench.result import (
    MALFORMED,
    REFUSED,
    TOO_MANY,
    UNKNOWN_TOOL,
    WRONG_ARGUMENTS,
    Result,
    call_errors,
    measure,
)
from ludus.agents.episode import Episode, StopReason, Turn
from ludus.envs.base import Outcome
from ludus.envs.chat import Message
from ludus.envs.rubric import Rubric
from ludus.envs.tool_env import MAX_CALLS, Answer, ToolEnv
from ludus.tools.errors import ToolError
from ludus.tools.tool import tool


class Shelf(ToolEnv):
    """An environment with one tool, which knows one book."""

    scripted = {}  # noqa: RUF012
    max_turns = 9
    rubric = Rubric({"tool_errors": -0.1})

    def start(self, rng: Any, options: Any) -> Any:
        raise NotImplementedError

    def respond(self, state: Any, text: str) -> Outcome:
        return Outcome(state, [], {})

    @tool
    def fetch(self, state: Any, title: str) -> Answer:
        """Fetch a book.

        Args:
            title: of the book
        """
        if title != "Emma":
            raise ToolError(f"there is no book {title!r}")
        return Answer(state, "Emma, by Jane Austen")


def call(name: Any, arguments: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def episode(*replies: Message, **changes: Any) -> Episode:
    """What a rollout would record of these replies."""
    env, observed, turns = Shelf(), [], []
    for reply in replies:
        turns.append(Turn(observed, reply, 0.0, {}))
        observed = env.answer(None, reply).messages
    record = Episode("x", {}, 0, "task", tuple(turns), StopReason.TERMINATED, final_observation=observed)
    return replace(record, **changes)


def says(content: str = "", *calls: dict[str, Any]) -> Message:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (call("fetch", {"title": "Emma"}), ""),
        (call("fetch", {"title": "Dune"}), REFUSED),
        (call("fech", {"title": "Emma"}), UNKNOWN_TOOL),
        (call("fetch", '{"title": '), MALFORMED),
        (call("fetch", "[1]"), MALFORMED),
        (call("fetch", "[" * 100_000), MALFORMED),
        (call("fetch", {}), WRONG_ARGUMENTS),
        (call("fetch", {"title": 3}), WRONG_ARGUMENTS),
        (call("fetch", {"title": "Emma", "shelf": 1}), WRONG_ARGUMENTS),
        ({"id": "1", "name": "fetch"}, MALFORMED),
        (call(7, {}), MALFORMED),
    ],
)
def test_each_kind_of_wrong_call_is_known_by_the_environments_own_words(bad: Any, kind: str) -> None:
    good = call("fetch", {"title": "Emma"})
    assert call_errors(episode(says("", good, bad, good), says("", bad))) == ["", kind, "", kind]


def test_calls_beyond_the_limit_have_a_kind_of_their_own() -> None:
    good = call("fetch", {"title": "Emma"})
    kinds = call_errors(episode(says("", *[good] * (MAX_CALLS + 2))))
    assert kinds == [""] * MAX_CALLS + [TOO_MANY] * 2


def test_an_environment_without_tools_knows_no_tool() -> None:
    import gymnasium

    import ludus  # noqa: F401

    env = gymnasium.make("ludus/Arithmetic-v0", disable_env_checker=True)
    observed, _ = env.reset(seed=1)
    reply = says("", call("fetch", {}))
    answered = env.step(reply)[0]
    turn = Turn(observed, reply, 0.0, {})
    record = Episode("x", {}, 0, "t", (turn,), StopReason.TERMINATED, final_observation=answered)
    assert call_errors(record) == [UNKNOWN_TOOL]


def test_errors_and_tokens_are_counted() -> None:
    record = episode(says("", call("fech", {}), call("fetch", {})), says("done"))
    turns = [
        replace(turn, prompt_tokens=10, completion_tokens=3, generate_seconds=0.5) for turn in record.turns
    ]
    measured = measure(replace(record, turns=tuple(turns), group=4, sample=2))
    assert (measured.task, measured.sample, measured.turns, measured.calls) == (4, 2, 2, 2)
    assert measured.errors == {UNKNOWN_TOOL: 1, WRONG_ARGUMENTS: 1}
    assert (measured.prompt_tokens, measured.completion_tokens, measured.model_seconds) == (20, 6, 1.0)
    assert Result.from_dict(json.loads(json.dumps(measured.to_dict()))) == measured


def test_the_last_reply_holds_the_answer() -> None:
    assert measure(episode(says("<answer>1</answer>"), says("<answer>2</answer>"))).answer == "2"
    assert measure(episode(says("<answer>1</answer>"), says("four"))).answer is None


def test_an_episode_that_broke_before_its_first_reply_is_measured() -> None:
    broken = replace(
        episode(says("")), turns=(), stop=StopReason.ENGINE_FAULT, fault="no answer", success=False
    )
    assert call_errors(broken) == []
    assert (measure(broken).is_fault, measure(broken).turns) == (True, 0)
