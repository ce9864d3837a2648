"""What is wrong with a request is told in OpenAI's form, in one line."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from ludus.agents.serving.app import chat_app

from ..formats.families import HERMES, MISTRAL, NO_CALLS, tokenizer
from .served import scripted_model

USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
OTHER = {"type": "function", "function": {"name": "g"}}
ASK = {"model": "scripted", "messages": [USER]}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    model, _ = scripted_model(tokenizer(HERMES), lambda _: "Good day.")
    with TestClient(chat_app(model)) as made:
        yield made


def said(content: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content}]}


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"model": None}, "model", "missing"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "Hello"}, "messages", "array"),
        ({"temperature": 2.5}, "temperature", "2.5"),
        ({"temperature": "hot"}, "temperature", "hot"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"n": 1000}, "n", "128"),
        ({"seed": 1.5}, "seed", "1.5"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
        ({"stop": ""}, "stop", "none of them empty"),
        ({"top_logprobs": 3}, "top_logprobs", "logprobs: true"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
        ({"presence_penalty": 0.5}, "presence_penalty", "only taken as 0"),
        ({"response_format": {"type": "json_object"}}, "response_format", "only taken as"),
        ({"colour": "blue"}, "colour", "not supported"),
        ({"stream_options": {"colour": 1}}, "stream_options", "colour"),
        ({"tool_choice": "required"}, "tool_choice", "needs tools"),
        ({"tool_choice": "perhaps"}, "tool_choice", "perhaps"),
        ({"tool_choice": OTHER, "tools": [TOOL]}, "tool_choice", "(f)"),
        ({"tools": [{"type": "function"}]}, "tools[0]", "form"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name", "name"),
        (said("x", "function"), "messages[0].role", "none of"),
        (said(3), "messages[0].content", "list of parts"),
        (said(IMAGE), "messages[0].content[0]", 'type "text"'),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id", "not a text"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]},
            "messages[1].tool_calls[0].function.arguments",
            "not a text",
        ),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(client: TestClient, changes: dict[str, Any], param: str, words: str) -> None:
    for stream in (False, True):
        answer = client.post("/v1/chat/completions", json={**ASK, **changes, "stream": stream})
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
        assert words in error["message"]
        assert "\n" not in error["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"3", b""])
def test_a_body_that_is_no_request(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


def test_what_there_is_not_is_404(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json={**ASK, "model": "gpt-99"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "'scripted'" in answer.json()["error"]["message"]
    assert client.get("/v1/models/gpt-99").json()["error"]["code"] == "model_not_found"
    assert client.get("/v2").status_code == 404
    assert "/v1/chat/completions" in client.get("/v2").json()["error"]["message"]
    assert client.get("/v1/chat/completions").status_code == 405


def test_too_long_a_context_has_its_own_code(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json={**ASK, **said("x" * 30_000)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "20000" in answer.json()["error"]["message"]


def test_null_is_as_if_it_were_not_there_and_what_is_none_of_the_models_business_is_ignored(
    client: TestClient,
) -> None:
    nulls = dict.fromkeys(("stop", "tools", "temperature", "max_tokens", "stream_options", "logit_bias"))
    unused = {"user": "me", "metadata": {"a": "b"}, "store": True, "presence_penalty": 0}
    answer = client.post("/v1/chat/completions", json={**ASK, **nulls, **unused})
    assert answer.json()["choices"][0]["message"]["content"] == "Good day."


def test_models_are_listed(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    (model,) = listed["data"]
    assert (listed["object"], model["id"], model["object"], model["max_model_len"]) == (
        "list",
        "scripted",
        "model",
        20_000,
    )
    assert client.get("/v1/models/scripted").json() == model


@pytest.mark.parametrize(
    ("template", "messages", "words"),
    [
        (NO_CALLS, [USER], "leaves tools out"),
        (MISTRAL, [USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": 1}}]}], "name"),
    ],
)
def test_what_a_template_cannot_express_is_refused(template: str, messages: Any, words: str) -> None:
    model, _ = scripted_model(tokenizer(template), lambda _: "no")
    with TestClient(chat_app(model)) as client:
        ask = {"model": "scripted", "messages": messages, "tools": [TOOL]}
        answer = client.post("/v1/chat/completions", json=ask)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_bug_is_500_and_says_no_more_than_that() -> None:
    def broken(_: str) -> str:
        raise ZeroDivisionError("secret")

    model, _ = scripted_model(tokenizer(HERMES), broken)
    with TestClient(chat_app(model), raise_server_exceptions=False) as client:
        answer = client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
