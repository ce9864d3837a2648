# ruff: noqa: E501 (servers' messages are quoted as they are)
"""Servers imitated with the quirks that they are documented to have, each replaying an oracle through `ludus bench`:
every figure is 1, and every injected failure is counted as the kind that it is.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.bench.outcome import Outcome
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Listener, Plan, bench
from ludus.agents.bench.suites import choose
from ludus.agents.bench.tasks import tasks_for
from ludus.agents.engines import retries
from ludus.agents.engines.options import ServerOptions
from ludus.agents.episode import Episode, StopReason
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.envs.chat import content_text
from ludus.tools.errors import UserError

ENVIRONMENT, TASKS = "ludus/Weather-v0", 3
Messages = list[dict[str, Any]]
Answer = tuple[int, Any]
"""Status, and JSON or text."""


def error(status: int, message: str, **more: Any) -> Answer:
    return status, {"error": {"message": message, **more}}


@dataclass
class Request:
    body: dict[str, Any]
    headers: dict[str, str]
    query: dict[str, list[str]]
    path: str

    @property
    def messages(self) -> Messages:
        return self.body["messages"]

    @property
    def replies(self) -> Messages:
        return [message for message in self.messages if message["role"] == "assistant"]


@dataclass
class Server:
    """What all vendors have in common: OpenAI's form, as its own server has it."""

    lines: dict[str, Messages]
    """For each task, by what the user says first: the oracle's replies."""
    inject: str = ""
    """A failure of this kind for the second reply of the first task that is asked about."""
    prefix = "/v1"
    context = 10**6
    requests: list[Request] = field(default_factory=list)
    troubles: set[str] = field(default_factory=set)
    chosen: str = ""
    url: str = ""

    def models(self) -> Answer:
        return 200, {"object": "list", "data": [{"id": "m", "object": "model"}]}

    def chat(self, request: Request) -> Answer:
        refused = self.refuses(request)
        if refused is not None:
            return refused
        task = next(
            task
            for task in self.lines
            if any(task in str(m["content"]) for m in request.messages if m["role"] == "user")
        )
        self.chosen = self.chosen or task
        turn = len(request.replies)
        if self.inject and task == self.chosen and turn == 1 and self.once("injected"):
            return self.failure(request)
        if "injected" in self.troubles and task == self.chosen:
            turn -= turn > 1  # the environment let it try again
        return self.answer(self.lines[task][min(turn, len(self.lines[task]) - 1)], request)

    def refuses(self, request: Request) -> Answer | None:
        """The refusal of a request that this server does not take."""
        return None

    def failure(self, request: Request) -> Answer:
        """The injected failure."""
        raise NotImplementedError

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        calls = [self.call(call, number) for number, call in enumerate(reply.get("tool_calls", ()))]
        message = {
            "role": "assistant",
            "content": reply["content"] or None,
            "refusal": None,
            "annotations": [],
        }
        if calls:
            message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls" if calls else "stop",
            "logprobs": None,
        }
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return 200, {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage}

    def call(self, call: dict[str, Any], number: int) -> dict[str, Any]:
        function = call["function"]
        return {
            "id": f"call_{number}x",
            "type": "function",
            "function": {"name": function["name"], "arguments": json.dumps(function["arguments"])},
        }

    def once(self, trouble: str) -> bool:
        is_first = trouble not in self.troubles
        self.troubles.add(trouble)
        return is_first

    def check(self, outcome: Outcome) -> None:
        """Whatever else must have come out."""


class VLLM(Server):
    """Refuses where prompt and limit exceed the context, together; gives reasoning apart; lists `max_model_len`."""

    def models(self) -> Answer:
        return 200, {"data": [{"id": "m", "object": "model", "owned_by": "vllm", "max_model_len": 8192}]}

    def refuses(self, request: Request) -> Answer | None:
        asked = request.body["max_tokens"]
        if asked + 100 > 8192:
            text = f"'max_tokens' or 'max_completion_tokens' is too large: {asked}. This model's maximum context length is 8192 tokens and your request has 100 input tokens ({asked} > 8192 - 100)."
            return 400, {"error": {"message": text, "type": "BadRequestError", "param": None, "code": 400}}
        return None

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        status, answer = super().answer(reply, request)
        answer["choices"][0]["message"] |= {
            "reasoning": "hm",
            "reasoning_content": "hm",
            "function_call": None,
        }
        answer["choices"][0] |= {"stop_reason": None, "token_ids": None}
        answer["usage"] |= {"completion_tokens_details": {"reasoning_tokens": 4}}
        return status, answer

    def failure(self, request: Request) -> Answer:
        if self.inject == "harmony":
            return 500, {
                "error": {"message": "Unexpected token 12606 while expecting start token 200006", "code": 500}
            }
        return error(
            400,
            "This model's maximum context length is 8192 tokens. However, your prompt contains 9000 input tokens",
        )

    def check(self, outcome: Outcome) -> None:
        assert {request.body["max_tokens"] for request in self.requests} == {16384, 8092}
        assert all(
            reply["reasoning_content"] == "hm" for request in self.requests for reply in request.replies
        )
        turns = [turn for episode in outcome.folder.episodes() for turn in episode.turns]
        assert {turn.reasoning_tokens for turn in turns} == {4}
        assert all(turn.vendor == {"reasoning": "hm", "reasoning_content": "hm"} for turn in turns)


class Gemma(Server):
    """A model in vLLM whose chat template has no system message."""

    def refuses(self, request: Request) -> Answer | None:
        if request.messages[0]["role"] == "system":
            return 400, {
                "object": "error",
                "message": "System role not supported",
                "type": "BadRequestError",
                "code": 400,
            }
        return None

    def check(self, outcome: Outcome) -> None:
        assert any("takes no system message" in note for note in outcome.folder.notes)


class SGLang(Server):
    """Errors without `error` around them; a reply that was aborted."""

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        status, answer = super().answer(reply, request)
        answer["choices"][0] |= {"matched_stop": None}
        if self.once("abort"):
            answer["choices"][0] |= {
                "finish_reason": "abort",
                "message": {"role": "assistant", "content": ""},
            }
        return status, answer

    def failure(self, request: Request) -> Answer:
        message = "The input (9000 tokens) is longer than the model's context length (8192 tokens)."
        return 400, {
            "object": "error",
            "message": message,
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        }


class LlamaCpp(Server):
    """Loads its model at first; is one server error where the model's output cannot be read."""

    def refuses(self, request: Request) -> Answer | None:
        return error(503, "Loading model", type="unavailable_error", code=503) if self.once("load") else None

    def failure(self, request: Request) -> Answer:
        if self.inject == "malformed":
            return error(
                500, 'Failed to parse input at pos 0: <tool_call>injected {"', type="server_error", code=500
            )
        message = "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it"
        return error(400, message, type="exceed_context_size_error", n_prompt_tokens=9000, n_ctx=8192)


class Ollama(Server):
    """Has a tag behind each name; says that a call cannot be parsed by a status of 500."""

    def models(self) -> Answer:
        return 200, {"object": "list", "data": [{"id": "llama3.1:latest"}, {"id": "qwen3:8b"}]}

    def failure(self, request: Request) -> Answer:
        message = "error parsing tool call: raw='{\"injected\":', err=unexpected end of JSON input"
        return error(500, message, type="api_error", param=None, code=None)


class LMStudio(Server):
    """Leaves the calls of a model that it does not know in the text, in its own tags."""

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        calls = [call["function"] for call in reply.get("tool_calls", ())]
        text = "".join(f"[TOOL_REQUEST]{json.dumps(call)}[END_TOOL_REQUEST]\n" for call in calls)
        return super().answer({"content": text or reply["content"]}, request)


class HermesInText(Server):
    """Knows no tool parser, so that calls stay in the text (vLLM without one, and many others)."""

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        calls = [call["function"] for call in reply.get("tool_calls", ())]
        return super().answer(
            {"content": "".join(f"<tool_call>\n{json.dumps(c)}\n</tool_call>" for c in calls)}, request
        )


class LlamaInText(Server):
    """The same for a Llama model."""

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        calls = [call["function"] for call in reply.get("tool_calls", ())]
        text = "".join(f"<function={c['name']}>{json.dumps(c['arguments'])}</function>" for c in calls)
        return super().answer({"content": text}, request)


class Legacy(Server):
    """Answers with a single `function_call`, the form before `tool_calls`."""

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        status, answer = super().answer(reply, request)
        message = answer["choices"][0]["message"]
        message["function_call"] = message.pop("tool_calls")[0]["function"]
        answer["choices"][0]["finish_reason"] = "function_call"
        return status, answer


class OpenRouter(Server):
    """Errors of other servers inside a good answer; reasoning that must go back; costs; moderation."""

    prefix = "/api/v1"

    def models(self) -> Answer:
        return 200, {"data": [{"id": "m", "context_length": 100000}, {"id": "n", "context_length": 8}]}

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        if self.once("in a choice"):
            choice = {
                "finish_reason": "error",
                "error": {"code": 502, "message": "Upstream gone"},
                "message": {"role": "assistant", "content": ""},
            }
            return 200, {"choices": [choice]}
        if self.once("instead of choices"):
            return 200, {
                "error": {"code": 429, "message": "Rate limit exceeded", "metadata": {"provider_name": "x"}}
            }
        details = [{"type": "reasoning.encrypted", "data": "abc", "index": 0}]
        if any(
            said.get("reasoning_details") != details
            for said in request.replies
            if "injected" not in str(said)
        ):
            return error(400, "reasoning details are missing")
        status, answer = super().answer(reply, request)
        answer["choices"][0] |= {"native_finish_reason": "stop"}
        answer["choices"][0]["message"] |= {"reasoning": None, "reasoning_details": details}
        answer["usage"] |= {"cost": 0.25, "prompt_tokens_details": {"cached_tokens": 60}}
        return status, answer

    def failure(self, request: Request) -> Answer:
        if self.inject == "malformed":
            raw = {
                "error": {"message": "Failed", "code": "tool_use_failed", "failed_generation": "injected <f"}
            }
            return error(
                400,
                "Provider returned error",
                code=400,
                metadata={"raw": json.dumps(raw), "provider_name": "Groq"},
            )
        metadata = {
            "reasons": ["violence"],
            "flagged_input": "the weather",
            "provider_name": "OpenAI",
            "model_slug": "m",
        }
        return error(403, "m requires moderation. Your input was flagged.", code=403, metadata=metadata)

    def check(self, outcome: Outcome) -> None:
        turn = outcome.folder.episodes()[0].turns[0]
        assert (turn.cost, turn.cached_tokens) == (0.25, 60)
        assert outcome.cost == 0.25 * sum(len(episode.turns) for episode in outcome.folder.episodes())


class Groq(Server):
    """Refuses fields of messages that it does not know, its own reasoning among them; its own output, too."""

    prefix = "/openai/v1"

    def refuses(self, request: Request) -> Answer | None:
        for number, message in enumerate(request.messages):
            if "reasoning" in message:
                return error(
                    400,
                    f"'messages.{number}' : for 'role:assistant' the following must be satisfied[('messages.{number}' : property 'reasoning' is unsupported, did you mean 'role'?)]",
                    type="invalid_request_error",
                )
        if "seed" in request.body and request.body["max_tokens"] > 8192:
            return error(
                400,
                "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
                param="max_tokens",
            )
        return None

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        status, answer = super().answer(reply, request)
        answer["choices"][0]["message"] |= {"reasoning": "hm"}
        return status, answer

    def failure(self, request: Request) -> Answer:
        message = (
            "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."
        )
        return error(
            400,
            message,
            type="invalid_request_error",
            code="tool_use_failed",
            failed_generation="injected <function=forecast>{",
        )

    def check(self, outcome: Outcome) -> None:
        assert any("reasoning" in note for note in outcome.folder.notes)
        assert any("at most 8192 tokens" in note for note in outcome.folder.notes)


class Azure(Server):
    """The model is part of the URL, the key has a header of its own, every URL has a version; limits in milliseconds."""

    prefix = "/openai/deployments/m"

    def models(self) -> Answer:
        return 404, "<html><title>Resource not found</title></html>"

    def refuses(self, request: Request) -> Answer | None:
        if request.query.get("api-version") != ["2024-10-21"]:
            return error(404, "Resource not found", code="404")
        if request.headers.get("api-key") != "secret-of-azure":
            return 401, {"statusCode": 401, "message": "Access denied due to invalid subscription key"}
        if self.once("limit"):
            return error(
                429, "Requests have exceeded the call rate limit. Please retry after 1 second.", code="429"
            )
        return None

    def failure(self, request: Request) -> Answer:
        if self.inject == "filtered":
            choice = {
                "finish_reason": "content_filter",
                "message": {"role": "assistant"},
                "content_filter_results": {},
            }
            return 200, {"choices": [choice], "usage": {}}
        inner = {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"hate": {"filtered": True}},
        }
        return error(
            400,
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            param="prompt",
            code="content_filter",
            innererror=inner,
        )


class ReasoningModel(Server):
    """OpenAI's: no `max_tokens`, no temperature but its own, no seed."""

    def refuses(self, request: Request) -> Answer | None:
        if "max_tokens" in request.body:
            return error(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            )
        if request.body.get("temperature", 1) != 1:
            return error(
                400,
                "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.",
                param="temperature",
                code="unsupported_value",
            )
        if "seed" in request.body:
            return error(400, "Unknown parameter: 'seed'.", param="seed", code="unknown_parameter")
        return None

    def failure(self, request: Request) -> Answer:
        return error(
            400,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            code="invalid_prompt",
        )

    def check(self, outcome: Outcome) -> None:
        assert self.requests[-1].body["max_completion_tokens"] == 16384
        for name in ("max_completion_tokens", "temperature", "seed"):
            assert sum(name in note for note in outcome.folder.notes) == 1
        assert sum(len(turns) for turns in self.lines.values()) + 3 * TASKS >= len(self.requests)


class DeepSeek(Server):
    """Wants its reasoning back; has too few machines at times; refuses some contents."""

    def refuses(self, request: Request) -> Answer | None:
        for number, message in enumerate(request.messages):
            if (
                message["role"] == "assistant"
                and not message.get("reasoning_content")
                and "injected" not in str(message)
            ):
                return error(
                    400,
                    f"Missing `reasoning_content` field in the assistant message at message index {number}",
                    type="invalid_request_error",
                )
        return None

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        status, answer = super().answer(reply, request)
        answer["choices"][0]["message"] |= {"reasoning_content": "hm"}
        answer["usage"] |= {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}
        if self.once("no machine"):
            answer["choices"][0] |= {"finish_reason": "insufficient_system_resource"}
        return status, answer

    def failure(self, request: Request) -> Answer:
        return error(400, "Content Exists Risk", type="invalid_request_error", code="invalid_request_error")

    def check(self, outcome: Outcome) -> None:
        assert outcome.folder.episodes()[0].turns[0].cached_tokens == 64


class Gemini(Server):
    """Errors in a list; no seed; thoughts are signed, and a call without its signature is refused."""

    prefix = "/v1beta/openai"

    def models(self) -> Answer:
        return 200, {"object": "list", "data": [{"id": "models/m", "object": "model"}, {"id": "models/n"}]}

    def refuses(self, request: Request) -> Answer | None:
        if "seed" in request.body:
            message = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
            return 400, [
                {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": []}}
            ]
        for reply in request.replies:
            for call in reply.get("tool_calls", ()):
                if call.get("extra_content") != {"google": {"thought_signature": "sign"}}:
                    message = "Function call is missing a thought_signature in functionCall parts."
                    return 400, [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]
        return None

    def call(self, call: dict[str, Any], number: int) -> dict[str, Any]:
        return {
            **super().call(call, number),
            "id": "",
            "extra_content": {"google": {"thought_signature": "sign"}},
        }

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        status, answer = super().answer(reply, request)
        answer["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 150}
        return status, answer

    def failure(self, request: Request) -> Answer:
        if self.inject == "blocked":
            return 200, {"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usage": {}}
        reasons = {"safety": "SAFETY", "malformed": "function_call_filter: MALFORMED_FUNCTION_CALL"}
        message = {"role": "assistant", "content": "injected" if self.inject == "malformed" else None}
        return 200, {"choices": [{"index": 0, "message": message, "finish_reason": reasons[self.inject]}]}

    def check(self, outcome: Outcome) -> None:
        turn = outcome.folder.episodes()[0].turns[0]
        assert (turn.completion_tokens, turn.reasoning_tokens) == (50, 40)
        assert turn.vendor["tool_calls"] == [{"extra_content": {"google": {"thought_signature": "sign"}}}]


class Anthropic(Server):
    """Overloaded with a status of its own; takes no message without text; a reply may end as a refusal."""

    def refuses(self, request: Request) -> Answer | None:
        if self.once("overload"):
            return 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        if any(not reply["content"] and not reply.get("tool_calls") for reply in request.replies):
            return error(400, "messages: text content blocks must be non-empty", type="invalid_request_error")
        return None

    def failure(self, request: Request) -> Answer:
        if self.inject == "long":
            return error(
                400, "prompt is too long: 213462 tokens > 200000 maximum", type="invalid_request_error"
            )
        if self.inject == "empty":  # the model says nothing, which the next request repeats
            return 200, {
                "choices": [{"message": {"role": "assistant", "content": None}, "finish_reason": "stop"}]
            }
        return 200, {
            "choices": [{"message": {"role": "assistant", "content": "no"}, "finish_reason": "refusal"}]
        }


class Mistral(Server):
    """Says what it does not take in pydantic's form; thinks in parts of the content; half a character in a reply."""

    def refuses(self, request: Request) -> Answer | None:
        if "seed" in request.body:
            wrong = {
                "type": "extra_forbidden",
                "loc": ["body", "seed"],
                "msg": "Extra inputs are not permitted",
                "input": 7,
            }
            return 422, {"detail": [wrong]}
        if any(not isinstance(reply["content"], list) for reply in request.replies):
            return error(400, "thinking is missing")
        return None

    def answer(self, reply: dict[str, Any], request: Request) -> Answer:
        status, answer = super().answer(reply, request)
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "\ud83d"}]}
        answer["choices"][0]["message"]["content"] = [thought, {"type": "text", "text": "so \ud83d"}]
        return status, answer

    def check(self, outcome: Outcome) -> None:
        assert outcome.folder.episodes()[0].turns[0].reply["content"] == "so \ufffd"


VENDORS: dict[str, tuple[type[Server], dict[str, Any]]] = {
    "OpenAI": (Server, {}),
    "OpenAI's reasoning models": (ReasoningModel, {}),
    "vLLM": (VLLM, {}),
    "Gemma in vLLM": (Gemma, {}),
    "SGLang": (SGLang, {}),
    "llama.cpp": (LlamaCpp, {}),
    "Ollama": (Ollama, {"model": "llama3.1"}),
    "LM Studio": (LMStudio, {"written_calls": "auto"}),
    "Hermes in the text": (HermesInText, {"written_calls": "auto"}),
    "Llama in the text": (LlamaInText, {"written_calls": "auto"}),
    "legacy function_call": (Legacy, {}),
    "OpenRouter": (OpenRouter, {"model": "m"}),
    "Groq": (Groq, {}),
    "Azure": (
        Azure,
        {
            "server": ServerOptions(
                query={"api-version": "2024-10-21"}, headers={"api-key": "secret-of-azure"}
            )
        },
    ),
    "DeepSeek": (DeepSeek, {}),
    "Gemini": (Gemini, {"model": "m"}),
    "Anthropic": (Anthropic, {}),
    "Mistral": (Mistral, {}),
}


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(retries, "FIRST_S", 0.001)
        patch.delenv("OPENAI_API_KEY", raising=False)
        yield


@pytest.fixture(scope="module")
def lines() -> dict[str, Messages]:
    """The oracle's replies to the first tasks, by what the user says first."""
    (tasks,) = tasks_for(choose(ENVIRONMENT).specs, TASKS, TASKS, lambda note: None).sets
    played = rollout(ScriptedPolicy("oracle"), tasks.spec, [EpisodeStart(seed) for seed in tasks.seeds])

    def asked(episode: Episode) -> str:
        return content_text(next(m for m in episode.turns[0].observation if m["role"] == "user"))

    return {asked(episode): [dict(turn.reply) for turn in episode.turns] for episode in played}


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serves an imitation on loopback, from a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def start(server: Server) -> Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                    headers = {
                        name.lower(): value.strip()
                        for name, _, value in (line.partition(":") for line in rest)
                    }
                    method, target, _ = head.split(" ")
                    body = await reader.readexactly(int(headers.get("content-length", 0)))
                    url = urlsplit(target)
                    if method == "POST" and url.path == f"{server.prefix}/chat/completions":
                        request = Request(json.loads(body), headers, parse_qs(url.query), url.path)
                        server.requests.append(request)
                        status, answer = server.chat(request)
                    else:
                        status, answer = server.models()
                    kind = "text/html" if isinstance(answer, str) else "application/json"
                    content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                    writer.write(
                        f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n".encode()
                        + content
                    )
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        async def listen() -> int:
            listening = await asyncio.start_server(connected, "127.0.0.1", 0)
            return int(listening.sockets[0].getsockname()[1])

        port = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
        server.url = f"http://127.0.0.1:{port}{server.prefix}"
        return server

    yield start
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


class Told(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def measured(imitated: Server, folder: Path, model: str = "", **options: Any) -> tuple[Outcome, Told]:
    told = Told()
    player = PlayerChoice(f"{imitated.url}#{model}" if model else imitated.url, **options)
    return bench(Plan(ENVIRONMENT, player, TASKS, concurrency=2), folder, told), told


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_oracle_has_every_point_behind_a_server(
    vendor: str, serve: Any, lines: dict[str, Messages], tmp_path: Path
) -> None:
    kind, options = VENDORS[vendor]
    server = serve(kind(lines))
    outcome, told = measured(server, tmp_path / "run", **options)
    (row,) = outcome.rows
    assert [result.fault for result in outcome.results] == [""] * TASKS
    assert (row.figures.success.value, row.figures.faults) == (1.0, 0)
    assert len(told.notes) == len({*told.notes})
    server.check(outcome)
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "run").glob("*.json*"))


INJECTED = [
    ("vLLM", "harmony", "malformed"),
    ("vLLM", "long", StopReason.TOKEN_LIMIT),
    ("SGLang", "long", StopReason.TOKEN_LIMIT),
    ("llama.cpp", "malformed", "malformed"),
    ("llama.cpp", "long", StopReason.TOKEN_LIMIT),
    ("Ollama", "malformed", "malformed"),
    ("OpenRouter", "moderated", StopReason.REFUSED),
    ("OpenRouter", "malformed", "malformed"),
    ("Groq", "malformed", "malformed"),
    ("Azure", "prompt", StopReason.REFUSED),
    ("Azure", "filtered", StopReason.REFUSED),
    ("OpenAI's reasoning models", "flagged", StopReason.REFUSED),
    ("DeepSeek", "risk", StopReason.REFUSED),
    ("Gemini", "blocked", StopReason.REFUSED),
    ("Gemini", "safety", StopReason.REFUSED),
    ("Gemini", "malformed", "malformed"),
    ("Anthropic", "refusal", StopReason.REFUSED),
    ("Anthropic", "long", StopReason.TOKEN_LIMIT),
]


@pytest.mark.parametrize(("vendor", "failure", "counted"), INJECTED)
def test_an_injected_failure_is_counted_as_what_it_is(
    vendor: str, failure: str, counted: Any, serve: Any, lines: dict[str, Messages], tmp_path: Path
) -> None:
    kind, options = VENDORS[vendor]
    outcome, _ = measured(serve(kind(lines, failure)), tmp_path / "run", **options)
    episodes = outcome.folder.episodes()
    stops = sorted(episode.stop.value for episode in episodes)
    assert not any(episode.is_fault for episode in episodes)
    if counted == "malformed":
        finishes = [turn.finish for episode in episodes for turn in episode.turns]
        assert finishes.count("malformed") == 1
        assert stops == ["environment:terminated"] * TASKS
        assert sum(episode.success for episode in episodes) == TASKS  # the environment let it try again
    else:
        assert stops == sorted([*["environment:terminated"] * (TASKS - 1), counted.value])
        assert sum(episode.success for episode in episodes) == TASKS - 1
        (odd,) = [episode for episode in episodes if episode.stop == counted]
        assert odd.is_scored == (counted == StopReason.TOKEN_LIMIT)
        assert bool(odd.fault) == (counted == StopReason.REFUSED)


def test_calls_that_stay_in_the_text_are_told_once(
    serve: Any, lines: dict[str, Messages], tmp_path: Path
) -> None:
    outcome, told = measured(serve(HermesInText(lines)), tmp_path / "run")
    (note,) = [note for note in told.notes if "--written-calls auto" in note]
    assert "<tool_call>" in note
    assert note in outcome.notes
    assert outcome.rows[0].figures.success.value == 0.0


def test_an_empty_reply_goes_back_as_text_to_a_server_that_takes_no_other(
    serve: Any, lines: dict[str, Messages], tmp_path: Path
) -> None:
    server = serve(Anthropic(lines, "empty"))
    outcome, _ = measured(server, tmp_path / "run")
    assert not any(episode.is_fault for episode in outcome.folder.episodes())
    assert any("(no text)" in str(request.messages) for request in server.requests)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (error(402, "This request requires more credits"), "no credit"),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), "no credit"),
        (error(404, "model 'm' not found, try pulling it first"), "no model 'm'"),
        (error(400, "m does not support tools"), "--written-calls hermes"),
        (error(401, "invalid x-api-key"), "refuses access"),
    ],
)
def test_what_never_passes_ends_the_run_in_one_line(
    refusal: Answer, said: str, serve: Any, lines: dict[str, Messages], tmp_path: Path
) -> None:
    class Refusing(Server):
        def refuses(self, request: Request) -> Answer | None:
            return refusal

    with pytest.raises(UserError, match=said) as refused:
        measured(serve(Refusing(lines)), tmp_path / "run")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "models",
    [
        (404, "<html>none</html>"),
        (200, "hello"),
        (200, {"data": 3}),
        (403, {"error": "no list for you"}),
        (500, {}),
    ],
)
def test_a_named_model_needs_no_list(
    models: Answer, serve: Any, lines: dict[str, Messages], tmp_path: Path
) -> None:
    class Unlisted(Server):
        def models(self) -> Answer:
            return models

    outcome, _ = measured(serve(Unlisted(lines)), tmp_path / "run", model="m")
    assert outcome.rows[0].figures.success.value == 1.0
