"""What servers' errors mean, in the words in which the servers are known to say them."""

# ruff: noqa: E501 (servers' messages are quoted as they are)

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.engines.dialect import Dialect, room
from ludus.agents.engines.failures import (
    Kind,
    breaking,
    failure_of,
    failure_within,
    garbled,
    read_failure,
    refusing,
)
from ludus.agents.engines.retries import wait_s

NOW = 1792567680.0


def failure(message: str, status: int = 400, **more: Any) -> Any:
    return failure_of(status, {}, {"error": {"message": message, **more}}, NOW)


TOO_LONG = {
    "vLLM": (400, "This model's maximum context length is 8192 tokens. However, your prompt contains 9000"),
    "vLLM, ids": (400, "The decoder prompt (length 9000) is longer than the maximum model length of 8192"),
    "SGLang": (400, "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
    "llama.cpp": (400, "request (9000 tokens) exceeds the available context size (8192 tokens), try it"),
    "llama.cpp, 500": (500, "Context size has been exceeded."),
    "Ollama": (400, "prompt too long; exceeded max context length by 808 tokens"),
    "LM Studio": (
        400,
        "The number of tokens to keep from the initial prompt is greater than the context length.",
    ),
    "OpenAI": (400, "Your input exceeds the context window of this model."),
    "OpenRouter": (
        400,
        "This endpoint's maximum context length is 8192 tokens. However, you requested about 9",
    ),
    "Groq": (400, "Please reduce the length of the messages or completion."),
    "Azure": (
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9",
    ),
    "Gemini": (
        400,
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    ),
    "Anthropic": (400, "prompt is too long: 213462 tokens > 200000 maximum"),
    "Together": (422, "Input validation error: `inputs` must have less than 8192 tokens. Given: 9000"),
    "Fireworks": (400, "The prompt is too long: 140000, model maximum context length: 131071"),
    "Mistral": (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
    "xAI": (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
    "Kimi": (400, "Your request exceeded model token limit: 8192 (requested: 9000)"),
}


@pytest.mark.parametrize("server", TOO_LONG)
def test_a_conversation_that_is_too_long_is_recognised(server: str) -> None:
    status, message = TOO_LONG[server]
    assert failure(message, status).kind is Kind.TOO_LONG


KINDS = {
    "Azure's filter": (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering our policy.",
                "param": "prompt",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            }
        },
        Kind.REFUSAL,
    ),
    "OpenRouter's moderation": (
        403,
        {"error": {"code": 403, "message": "not ok", "metadata": {"reasons": ["x"], "flagged_input": "y"}}},
        Kind.REFUSAL,
    ),
    "DeepSeek's filter": (400, {"error": {"message": "Content Exists Risk"}}, Kind.REFUSAL),
    "OpenAI's reasoning models": (400, {"error": {"message": "no", "code": "invalid_prompt"}}, Kind.REFUSAL),
    "Groq": (400, {"error": {"message": "Failed", "code": "tool_use_failed"}}, Kind.MALFORMED),
    "Groq, wrong tool": (
        400,
        {"error": {"message": "tool call validation failed: attempted to call tool 'x'"}},
        Kind.MALFORMED,
    ),
    "Ollama": (
        500,
        {"error": {"message": "error parsing tool call: raw='{\"a\":', err=unexpected end of JSON input"}},
        Kind.MALFORMED,
    ),
    "llama.cpp": (
        500,
        {"error": {"code": 500, "message": "Failed to parse input at pos 12: <tool_call>{"}},
        Kind.MALFORMED,
    ),
    "vLLM's harmony": (
        500,
        {"error": {"message": "Unexpected token 12606 while expecting start token 200006"}},
        Kind.MALFORMED,
    ),
    "Groq through OpenRouter": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": json.dumps({"error": {"code": "tool_use_failed", "failed_generation": "<f"}})
                },
            }
        },
        Kind.MALFORMED,
    ),
    "no quota": (429, {"error": {"message": "x", "code": "insufficient_quota"}}, Kind.NO_CREDIT),
    "no money": (402, {"error": {"message": "more credits needed"}}, Kind.NO_CREDIT),
    "a limit": (
        429,
        {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}},
        Kind.LIMITED,
    ),
    "a limit that is about tokens": (429, {"error": {"message": "too many tokens per minute"}}, Kind.LIMITED),
    "a request that no minute has room for": (
        413,
        {"error": {"message": "Request too large for model on tokens per minute (TPM): Limit 6000"}},
        Kind.OTHER,
    ),
    "no key": (401, {"error": {"message": "Incorrect API key provided"}}, Kind.NO_ACCESS),
    "no right": (403, {"error": {"message": "You have insufficient permissions"}}, Kind.NO_ACCESS),
    "a firewall": (403, "<html><title>Attention Required!</title></html>", Kind.OTHER),
    "no model": (404, {"error": {"message": "model 'x' not found, try pulling it first"}}, Kind.NO_MODEL),
    "Gemini's list": (
        400,
        [{"error": {"code": 400, "message": "Function call is missing a thought_signature"}}],
        Kind.OTHER,
    ),
    "a crash": (500, {"detail": "Internal Server Error"}, Kind.TROUBLE),
    "an overload": (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, Kind.TROUBLE),
    "a text": (503, "Loading model", Kind.TROUBLE),
    "nothing": (400, {}, Kind.OTHER),
}


@pytest.mark.parametrize("case", KINDS)
def test_an_error_is_of_the_kind_whose_failure_it_was(case: str) -> None:
    status, body, kind = KINDS[case]
    found = read_failure(status, {}, json.dumps(body).encode(), NOW)
    assert found.kind is kind
    assert found.said
    assert "\n" not in found.said


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ({"error": {"code": "tool_use_failed", "failed_generation": "<function=x>{"}}, "<function=x>{"),
        ({"error": {"message": "error parsing tool call: raw='{\"a\": ', err=unexpected end"}}, '{"a": '),
        ({"error": {"message": "Failed to parse input at pos 3: <tool_call>\n{"}}, "<tool_call>\n{"),
        ({"error": {"code": "tool_use_failed", "failed_generation": "\ud83d"}}, "\ufffd"),
        ({"error": {"code": "tool_use_failed"}}, ""),
    ],
)
def test_the_models_own_text_is_found_in_the_error(body: Any, written: str) -> None:
    assert failure_of(400, {}, body, NOW).written == written


def test_errors_inside_a_good_status_are_found() -> None:
    assert failure_within({"choices": [{"message": {}}]}, NOW) is None
    assert failure_within({"choices": [{"message": {}}], "error": None}, NOW) is None
    upstream = failure_within({"choices": [{"message": {}, "error": {"code": 502, "message": "gone"}}]}, NOW)
    assert upstream is not None
    assert (upstream.kind, upstream.said) == (Kind.TROUBLE, "gone")
    limited = failure_within({"error": {"code": 429, "message": "slow down, retry in 3s"}}, NOW)
    assert limited is not None
    assert (limited.kind, limited.wait_s) == (Kind.LIMITED, 3.0)
    blocked = failure_within({"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, NOW)
    assert blocked is not None
    assert blocked.kind is Kind.REFUSAL


def test_finish_reasons_of_many_vendors() -> None:
    for reason in ("content_filter", "SAFETY", "content_filter: PROHIBITED_CONTENT", "refusal", "RECITATION"):
        assert refusing(reason)
    for reason in ("error", "abort", "insufficient_system_resource"):
        assert breaking(reason)
    for reason in ("MALFORMED_FUNCTION_CALL", "function_call_filter: MALFORMED_FUNCTION_CALL"):
        assert garbled(reason)
    for reason in ("stop", "length", "tool_calls", "eos", "STOP", ""):
        assert [refusing(reason), breaking(reason), garbled(reason)] == [False] * 3


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({"retry-after": "7"}, "try again in 20s", 7.0),
        ({}, "Rate limit reached. Please try again in 20s. Visit", 20.0),
        ({}, "Please try again in 1m26.4s.", 86.4),
        ({}, "try again in 450ms", 0.45),
        ({}, "Please retry after 13 seconds.", 13.0),
        ({}, "Please retry in 34.074824224s.", 34.074824224),
        ({}, "wait 2 minutes, 5 seconds", 125.0),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "20ms"}, "", 0.02),
        (
            {
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "20ms",
                "x-ratelimit-remaining-tokens": "500",
            },
            "",
            360.0,
        ),
        ({"x-ratelimit-reset": f"{(NOW + 9) * 1000:.0f}", "x-ratelimit-remaining": "0"}, "", 9.0),
        ({"x-ratelimit-reset": f"{NOW + 9:.0f}"}, "", 9.0),
        ({"x-ratelimit-reset": "1.5"}, "", 1.5),
        ({"anthropic-ratelimit-requests-reset": "2026-10-21T07:28:30Z"}, "", 30.0),
        ({"x-ratelimit-reset": "soon"}, "you may try again in a while", None),
        ({}, "", None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: Any, message: str, seconds: float | None) -> None:
    found = wait_s(headers, message, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


OPTIONAL = ("max_tokens", "temperature", "top_k", "seed", "logprobs")
BODY = {
    "model": "m",
    "max_tokens": 16384,
    "temperature": 0.0,
    "seed": 7,
    "top_k": 5,
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "reasoning": "hm"},
    ],
}


def learned(*failures: Any, body: Any = BODY) -> tuple[dict[str, Any], list[str | None]]:
    """The body as it is sent after these refusals, and the notes."""
    dialect, notes = Dialect(), list[str | None]()
    for refusal in failures:
        notes.append(dialect.learn(refusal, dialect.applied(body), OPTIONAL))
    return dialect.applied(body), notes


@pytest.mark.parametrize(
    ("refusal", "missing"),
    [
        (
            failure("Unsupported value: 'temperature' does not support 0.0 with this model.", param="temperature"),
            {"temperature"},
        ),
        (failure("Unsupported parameter: 'seed' is not supported with this model."), {"seed"}),
        (failure("property 'top_k' is unsupported"), {"top_k"}),
        (
            failure('Invalid JSON payload received. Unknown name "seed": Cannot find field.\nInvalid JSON payload '
                    'received. Unknown name "top_k": Cannot find field.'),
            {"seed", "top_k"},
        ),
        (
            failure_of(
                422,
                {},
                {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
                NOW,
            ),
            {"seed"},
        ),
        (failure("Unrecognized request argument supplied: top_k"), {"top_k"}),
        (failure("`temperature` is deprecated for this model."), {"temperature"}),
    ],
)  # fmt: skip
def test_a_parameter_that_the_server_refuses_is_left_out_and_told(refusal: Any, missing: set[str]) -> None:
    sent, (note,) = learned(refusal)
    assert BODY.keys() - sent.keys() == missing
    assert note is not None
    assert all(name in note for name in missing)


def test_a_limit_of_the_reply_is_renamed_or_made_smaller() -> None:
    renamed = failure(
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
        "instead."
    )
    sent, _ = learned(renamed)
    assert (sent.get("max_tokens"), sent["max_completion_tokens"]) == (None, 16384)
    for message in (
        "max_tokens is too large: 16384. This model supports at most 8192 completion tokens",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        "`max_tokens` must be less than or equal to `8192`, the maximum for this model's `context_window`",
        "max_tokens: 16384 > 8192, which is the maximum allowed number of output tokens for claude-20241022",
        "maxOutputTokens of 16384 but the supported range is from 1 (inclusive) to 8193 (exclusive)",
    ):
        sent, (note,) = learned(failure(message))
        assert sent["max_tokens"] == 8192
        assert note is not None
    sent, _ = learned(renamed, failure("max_completion_tokens is too large: 16384; it supports at most 4096"))
    assert sent["max_completion_tokens"] == 4096


@pytest.mark.parametrize(
    "message",
    [
        "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning' "
        "is unsupported, did you mean 'role'?)]",
        "`messages[2].reasoning`: reasoning is not supported with this model",
    ],
)
def test_a_field_of_messages_that_the_server_refuses_is_left_out(message: str) -> None:
    sent, (note,) = learned(failure(message))
    assert sent["messages"][2] == {"role": "assistant", "content": "", "reasoning_content": "hm"}
    assert note is not None
    assert "reasoning" in note


def test_messages_are_made_such_as_the_server_takes() -> None:
    sent, _ = learned(failure("System role not supported"))
    assert sent["messages"][0] == {"role": "user", "content": "be brief\n\nhi"}
    sent, _ = learned(failure("messages: text content blocks must be non-empty"))
    assert sent["messages"][2]["content"] == "(no text)"
    assert BODY["messages"][2]["content"] == ""


@pytest.mark.parametrize(
    "refusal",
    [
        failure("no such thing"),
        failure("The `messages` are not valid"),
        failure("temperature is not supported", status=500),
        failure("Missing `reasoning_content` field in the assistant message at message index 2."),
    ],
)
def test_other_refusals_teach_nothing(refusal: Any) -> None:
    sent, (note,) = learned(refusal)
    assert (sent, note) == (BODY, None)


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 16384. This model's maximum context length is 4096 "
            "tokens and your request has 2104 input tokens (16384 > 4096 - 2104).",
            1992,
        ),
        (
            "This model's maximum context length is 16385 tokens. However, you requested 17384 tokens (1000 in the "
            "messages, 16384 in the completion). Please reduce the length of the messages or completion.",
            15385,
        ),
        ("input length and `max_tokens` exceed context limit: 188240 + 16384 > 200000, decrease it", 11760),
        (
            "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
            "20000 tokens: 3616 tokens from the input messages and 16384 tokens for the completion.",
            4576,
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 16384 output tokens and your "
            "prompt contains at least 100 input tokens, for a total of at least 16484 input tokens.",
            3996,
        ),
        (
            "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 100 `inputs` and 16384 `max_new_tokens`",
            3996,
        ),
        ("Please reduce the length of the messages or completion.", 2048),
        ("request (36146 tokens) exceeds the available context size (32768 tokens), try increasing it", 0),
        ("prompt is too long: 213462 tokens > 200000 maximum", 0),
    ],
)
def test_the_room_for_a_reply_follows_from_the_refusal(message: str, left: int) -> None:
    assert room(failure(message), 16384) == left


WORDS = [
    "error",
    "message",
    "code",
    "detail",
    "loc",
    "metadata",
    "raw",
    "max_tokens",
    "temperature",
    "not supported",
    "16384",
    "8192",
    "prompt",
    "content_filter",
    "{",
    "raw='",
    "failed_generation",
]
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=8).map(" ".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | texts, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.integers(300, 599), json_values)
@settings(max_examples=200)
def test_any_error_is_read(status: int, body: Any) -> None:
    found = read_failure(status, {}, json.dumps(body).encode(), NOW)
    assert found.said
    assert "\n" not in found.said
    assert failure_within(body, NOW) is None or isinstance(body, dict)
    assert room(found, 16384) < 16384
    sent, (note,) = learned(found)
    assert (sent == BODY) == (note is None)
    assert [message["role"] for message in sent["messages"]][-1] == "assistant"


@pytest.mark.parametrize(
    "text", ["request too large " * 20_000, "raw='" * 50_000, "try again in 1s" * 20_000, "9" * 200_000]
)
def test_a_long_error_is_read_in_no_time(text: str) -> None:
    for status in (400, 429, 500):
        found = read_failure(status, {}, json.dumps({"error": {"message": text}}).encode(), NOW)
        assert len(found.said) <= 300
        learned(found)
        room(found, 16384)


def test_a_hostile_page_is_read_in_time() -> None:
    began = time.process_time()
    read_failure(503, {}, b"<html" + b"<title>" * 20_000, NOW)
    assert time.process_time() - began < 1
