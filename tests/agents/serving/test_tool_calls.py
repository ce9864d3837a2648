"""Tools over the chat interface, with a model that says what the test has it say."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from ludus.agents.serving.app import chat_app
from ludus.tools.tool import tool

from ..formats.families import HERMES, HERMES_THINKING, NO_CALLS, tokenizer
from .served import scripted_model


@tool
def forecast(place: str, day: int = 0) -> None:
    """The weather.

    Args:
        place: Where.
        day: From now.
    """


CALL = '<tool_call>\n{"name": "forecast", "arguments": {"place": "Łomża", "day": 2}}\n</tool_call>'
MALFORMED = '<tool_call>\n{"name": "forecast", "arguments": {"place": \n</tool_call>'
USER = {"role": "user", "content": "Will it rain?"}


@contextmanager
def serving(
    says: Callable[[str], str], template: str = HERMES, written_calls: str = ""
) -> Iterator[tuple[Callable[..., Any], Any]]:
    """Asks for a completion, or for the deltas of a stream; and the engine."""
    model, engine = scripted_model(tokenizer(template), says, written_calls)
    with TestClient(chat_app(model)) as client:

        def ask(*messages: Any, **changes: Any) -> Any:
            body = {"model": "scripted", "messages": messages or [USER], "tools": [forecast.openai]}
            answer = client.post("/v1/chat/completions", json={**body, **changes})
            if not changes.get("stream"):
                return answer.json()
            lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
            return [json.loads(line)["choices"][0] for line in lines[:-1]]

        yield ask, engine


def test_a_call_is_given_in_openai_s_form() -> None:
    with serving(lambda _: f"Let me look.\n{CALL}\n{MALFORMED}") as (ask, _):
        (choice,) = ask()["choices"]
        whole, broken = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "Let me look."
        assert whole["function"]["name"] == broken["function"]["name"] == "forecast"
        assert json.loads(whole["function"]["arguments"]) == {"place": "Łomża", "day": 2}
        assert broken["function"]["arguments"].startswith('{"name": "forecast"')
        assert len({whole["id"], broken["id"], ask()["choices"][0]["message"]["tool_calls"][0]["id"]}) == 3


def test_a_stream_tells_words_at_once_and_calls_whole() -> None:
    with serving(lambda _: f"Let me <look>.\n{CALL}") as (ask, _):
        choices = ask(stream=True)
    words = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
    assert "".join(words) == "Let me <look>."
    assert len(words) > 8
    ((call,),) = [choice["delta"]["tool_calls"] for choice in choices if "tool_calls" in choice["delta"]]
    assert (call["index"], call["type"], call["function"]["name"]) == (0, "function", "forecast")
    assert json.loads(call["function"]["arguments"])["place"] == "Łomża"
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_a_conversation_goes_on_from_what_was_sampled() -> None:
    """Even if the client writes it otherwise."""

    def says(text: str) -> str:
        return "Yes." if "tool_response" in text else CALL

    with serving(says) as (ask, engine):
        message = ask()["choices"][0]["message"]
        (call,) = message["tool_calls"]
        call["function"]["arguments"] = '{"day": 2, "place": "Łomża"}'
        result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
        sent = {"role": "assistant", "content": None, "tool_calls": [call], "audio": None}
        assert ask(USER, sent, result)["choices"][0]["message"]["content"] == "Yes."
        assert CALL in engine.format.text(engine.prompts[-1])
        call["function"]["arguments"] = '{"place": "Lomar"}'  # edited: not what was sampled any more
        ask(USER, sent, result)
        assert '{"place": "Lomar"}' in engine.format.text(engine.prompts[-1])
        assert CALL not in engine.format.text(engine.prompts[-1])


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "forecast"}}])
@pytest.mark.parametrize("template", [HERMES, HERMES_THINKING])
def test_a_demanded_call_is_begun_for_the_model(choice: Any, template: str) -> None:
    thinks = template == HERMES_THINKING
    said = "<think>\n\n</think>\n\n\n" * thinks + CALL
    with serving(lambda _: said, template) as (ask, engine):
        message = ask(tool_choice=choice)["choices"][0]["message"]
        (call,) = message["tool_calls"]
        assert call["function"]["name"] == "forecast"
        begun = engine.format.text(engine.prompts[-1]).rpartition("<|im_start|>assistant\n")[2]
        assert begun.endswith('<tool_call>\n{"name": "forecast", "arguments": {')
        deltas = [choice["delta"] for choice in ask(tool_choice=choice, stream=True)]
        assert "".join(delta.get("content", "") for delta in deltas) == (message["content"] or "")
        assert "tool_call>" not in (message["content"] or "")


def test_without_tools_or_with_the_choice_none_nothing_is_a_call() -> None:
    with serving(lambda _: CALL) as (ask, engine):
        for changes in ({"tools": None}, {"tool_choice": "none"}):
            message = ask(**changes)["choices"][0]["message"]
            assert message["content"] == CALL
            assert "tool_calls" not in message
            assert "forecast" not in engine.format.text(engine.prompts[-1])
        assert "".join(c["delta"].get("content", "") for c in ask(tools=None, stream=True)) == CALL


def test_one_call_at_a_time_if_asked() -> None:
    with serving(lambda _: f"{CALL}\n{CALL}") as (ask, _):
        assert len(ask()["choices"][0]["message"]["tool_calls"]) == 2
        assert len(ask(parallel_tool_calls=False)["choices"][0]["message"]["tool_calls"]) == 1


@pytest.mark.parametrize("tools", [None, [forecast.openai]])
def test_thinking_is_apart_where_the_template_thinks(tools: Any) -> None:
    template = HERMES_THINKING.replace("<think>\n' }}", "<think>\n' }}{#- </think> -#}")
    with serving(lambda _: "It may.\n</think>\n\nYes, it will.", template) as (ask, _):
        message = ask(tools=tools)["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == ("It may.", "Yes, it will.")
        deltas = [choice["delta"] for choice in ask(tools=tools, stream=True)]
        assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "It may."
        assert "".join(delta.get("content", "") for delta in deltas) == "Yes, it will."


def test_thinking_that_is_sent_back_goes_on_too() -> None:
    template = HERMES_THINKING.replace("<think>\n' }}", "<think>\n' }}{#- </think> -#}")
    with serving(lambda _: "Hm.\n</think>\n\nYes.", template) as (ask, engine):
        message = ask(tools=None)["choices"][0]["message"]
        ask(USER, message, USER, tools=None)
        assert engine.format.text(engine.prompts[-1]).count("Hm.\n</think>\n\nYes.") == 1
        ask(USER, {**message, "content": "No."}, USER, tools=None)
        assert "<think>\nHm.\n</think>\n\nNo." in engine.format.text(engine.prompts[-1])


def test_calls_are_written_by_instruction_where_the_template_has_no_tools() -> None:
    def says(text: str) -> str:
        return "Yes." if "tool_response" in text else f"I look.\n{CALL}"

    with serving(says, NO_CALLS, "hermes") as (ask, engine):
        message = ask()["choices"][0]["message"]
        (call,) = message["tool_calls"]
        assert message["content"] == "I look."
        assert "You may call these tools" in engine.format.text(engine.prompts[-1])
        result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
        assert ask(USER, message, result)["choices"][0]["message"]["content"] == "Yes."
        foreign = {**message, "tool_calls": [{**call, "id": "other"}]}
        ask(USER, foreign, {**result, "tool_call_id": "other"})
        text = engine.format.text(engine.prompts[-1])
        assert text.count(CALL) == 1
        assert "<tool_response>\nrain\n</tool_response>" in text
        assert "".join(c["delta"].get("content", "") for c in ask(stream=True)) == "I look."


def test_sessions_are_given_back() -> None:
    with serving(lambda _: CALL) as (ask, engine):
        for changes in ({"stop": "place"}, {"parallel_tool_calls": False}, {"n": 3}, {"stream": True}):
            ask(**changes)
        for number in range(10):
            ask({"role": "user", "content": str(number)})
        assert engine.open <= 4
