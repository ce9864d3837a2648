"""`Verifiers`: an environment in verifiers, by a model that says what the judge's policy says."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from typing import Any

import verifiers.v1 as vf
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from verifiers.v1.dialects.chat import ChatDialect
from verifiers.v1.interception import InterceptionServer

from ludus.agents.verifiers.environment import LudusEnvConfig
from ludus.agents.verifiers.harness import EPISODE, LudusHarnessConfig
from ludus.agents.verifiers.taskset import LudusTaskset, LudusTasksetConfig
from ludus.envs.chat import Chat, as_reply, assistant
from ludus.envs.conformance.surfaces.port import Port
from ludus.envs.conformance.surfaces.surface import Lost, Seen, Session, Surface
from ludus.envs.faults import EnvironmentFault

_ID = "ludus-vf"
_DIALECT = ChatDialect()


class Verifiers(Surface):
    """A model behind a port waits for each of its replies, so an episode is one rollout, as verifiers makes
    it: its interception, its records and its scores."""

    name = "verifiers"
    connects = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._interception = InterceptionServer()
        self.call(self._interception.__aenter__()).result()
        self._asked: dict[str, SimpleQueue[_Event]] = {}
        """By the name of the model, of which each rollout has its own."""
        self._names = map("model-{}".format, count())
        routes = [Route("/v1/chat/completions", self._complete, methods=["POST"])]
        self._port = Port(Starlette(routes=routes))

    def open(self, id: str, arguments: Mapping[str, Any]) -> "_VerifiersSession":
        return _VerifiersSession(self, LudusTasksetConfig(id=_ID, environment=id, arguments=dict(arguments)))

    def refuses(self, reply: Any) -> str:
        reply = as_reply(reply)
        if not isinstance(reply, str) and not (
            isinstance(reply, Mapping) and reply.get("role") == "assistant"
        ):
            return "what is no reply: a model's answer always is one"
        try:
            answer = completion("", reply)
            json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
            _DIALECT.parse_response(_DIALECT.validate_response(answer))
        except UnicodeEncodeError:
            return "halves of characters: JSON in UTF-8 carries none"
        except (ValueError, TypeError, LookupError):
            return "a content or a call whose form no answer of OpenAI's interface has"
        return ""

    def begin(self, task: vf.Task) -> "_Rollout":
        name = next(self._names)
        events: SimpleQueue[_Event] = SimpleQueue()
        self._asked[name] = events
        agent = vf.Agent(
            vf.AgentConfig(
                model=name,
                client=vf.EvalClientConfig(base_url=f"{self._port.url}/v1"),
                harness=LudusHarnessConfig(id=_ID, step_seconds=None),
                runtime=LudusEnvConfig().agent.runtime,
            ),
            interception=self._interception,
        )
        traces: list[vf.Trace] = []
        running = self.call(agent.run(task, on_trace=traces.append))
        running.add_done_callback(lambda _: events.put(None))
        return _Rollout(traces, events, running)

    def call(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        self.call(self._interception.__aexit__(None, None, None)).result()
        self._port.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _complete(self, request: Request) -> JSONResponse:
        body = await request.json()
        said: Future[Any] = Future()
        self._asked[body["model"]].put((body, said))
        return JSONResponse(completion(body["model"], await asyncio.wrap_future(said)))


_Event = tuple[dict[str, Any], "Future[Any]"] | None
"""What the model is asked, and where its answer goes; None at the end of the rollout."""


@dataclass
class _Rollout:
    """A rollout under way."""

    traces: list[vf.Trace]
    events: "SimpleQueue[_Event]"
    running: "Future[Any]"
    asked: _Event = None
    shown: int = 0
    """How many messages the model has been shown, or has said."""

    def next(self) -> None:
        self.asked = self.events.get()

    def end(self) -> None:
        if self.asked is not None:
            self.asked[1].cancel()
        self.running.cancel()
        while self.events.get() is not None:
            pass


class _VerifiersSession(Session):
    def __init__(self, surface: Verifiers, config: LudusTasksetConfig) -> None:
        self._surface, self._config = surface, config
        self._rollout: _Rollout | None = None
        self._tools: list[dict[str, Any]] = []

    @property
    def tools(self) -> list[dict[str, Any]]:
        return self._tools

    def reset(self, seed: int) -> Seen:
        self.close()
        config = self._config.model_copy(update={"first_seed": seed})
        self._rollout = self._surface.begin(next(iter(LudusTaskset(config))))
        return self._seen(self._rollout)

    def step(self, reply: Any) -> Seen:
        if self._rollout is None or self._rollout.asked is None:
            raise Lost("no model is asked: the rollout is over")
        self._rollout.asked[1].set_result(reply)
        return self._seen(self._rollout)

    def close(self) -> None:
        if self._rollout is not None and self._rollout.asked is not None:
            self._rollout.end()
        self._rollout = None

    def _seen(self, rollout: _Rollout) -> Seen:
        rollout.next()
        (trace,) = rollout.traces
        episode = trace.info.get(EPISODE, {})
        turns = episode.get("turns", [])
        if rollout.asked is not None:
            body = rollout.asked[0]
            self._tools = body.get("tools", [])
            messages: Chat = body["messages"][rollout.shown :]
            rollout.shown = len(body["messages"]) + 1
        elif trace.errors:
            raise EnvironmentFault(trace.last_error.message)
        else:
            messages = episode["messages"]
            _refuse_other_scores(trace, turns)
        if not turns:
            return Seen(messages, episode["task"], episode["anchor"])
        last = turns[-1]
        return Seen(
            messages, episode["task"], last["anchor"], last["reward"], last["terms"],
            last["terminated"], last["truncated"], episode.get("success"),
        )  # fmt: skip


def _refuse_other_scores(trace: vf.Trace, turns: list[dict[str, Any]]) -> None:
    """
    Raises:
        AssertionError: the trace's reward is not what was earned.
    """
    earned = sum(turn["reward"] for turn in turns)
    assert abs(trace.reward - earned) <= 1e-9 * sum(abs(turn["reward"]) for turn in turns), (
        f"the trace's reward is {trace.reward}, and {earned} was earned"
    )


def completion(model: str, reply: Any) -> dict[str, Any]:
    """A reply as a server of OpenAI's interface answers. Arguments are a text there."""
    message = dict(assistant(reply) if isinstance(reply, str) else as_reply(reply))
    message.setdefault("content", None)
    if "tool_calls" in message:
        message["tool_calls"] = [_call(call) for call in message["tool_calls"]] or None
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    head = {"id": "answer", "object": "chat.completion", "created": 0, "model": model}
    return {**head, "choices": [choice]}


def _call(call: Any) -> Any:
    if isinstance(call, Mapping) and isinstance(call["function"].get("arguments"), dict):
        function = {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}
        return {**call, "function": function}
    return call
