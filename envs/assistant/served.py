"""An environment's task over its services' own protocols: `ServedEpisodes` judges, `EpisodeApp` serves."""

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ludus.envs.assistant.exchange import Exchange
from ludus.envs.assistant.service_env import ServiceEnv
from ludus.envs.chat import transcript
from ludus.envs.faults import EnvironmentFault
from ludus.envs.mcp.episodes import Episodes, NoEpisode, Step
from ludus.tools.services.service import Service

EPISODE = "/episode"
BY_MAIL = Exchange("mail", "IMAP or SMTP", "/")
"""What clients changed by another protocol than HTTP."""
MOST_BODY = 2**20
"""Bytes of a request about the episode."""


class ServedEpisodes(Episodes):
    """Episodes of a `ServiceEnv` in which a client from outside uses the services themselves, beside calls
    and texts."""

    @property
    def services(self) -> dict[str, Service]:
        """The services, by the names under which they are served."""
        return {service.name: service for service in self._service_env.services.values()}

    def exchanged(self, exchange: Exchange, seconds: float) -> None:
        """Take over what a client did to a service and was shown; nothing once the episode is over."""
        if self._over:
            return
        reward, info = self._service_env.take_over(exchange)
        reply, result = exchange.recorded(self._steps)
        self._steps += 1
        self._return += reward
        self.watcher.stepped(reply, [result], reward, info, seconds)

    def conclude(self) -> None:
        """Judge an episode that a client leaves, if anything was done in it: by the services as they are,
        where the environment can; otherwise it is given up."""
        env = self._service_env
        self._take_over_mail()
        if self._steps and not self._over and env.last_call:
            function = env.toolbox.call(env.last_call)
            self.call(function["name"], function["arguments"])
        self.close()

    def verdict(self) -> str:
        """How the last episode ended and was judged, for people: the agent is never shown it."""
        judged = self.env.verdict
        lines = [self._over or ("The episode was given up." if self._steps else "Nothing was done.")]
        if self._over and not self._success:
            lines += [f"expected: {judged.expected}", f"failure: {judged.failure}"]
        return "\n".join(lines)

    def _begin(self) -> None:
        super()._begin()
        self._service_env.put_in()

    def _step(self, reply: Any) -> Step:
        self._take_over_mail()
        return super()._step(reply)

    def _take_over_mail(self) -> None:
        if not self._over and self._service_env.is_behind:
            self.exchanged(BY_MAIL, 0.0)

    @property
    def _service_env(self) -> ServiceEnv:
        assert isinstance(self.env, ServiceEnv)
        return self.env


@dataclass(frozen=True)
class EpisodeApp:
    """Services, and at `/episode` the episode that is played with them.

    | request | what |
    |---|---|
    | `GET /episode` | the task (`text` and `messages`), the tools, and how the episode stands |
    | `POST /episode/call` with `{"name": …, "arguments": {…}}` | call a tool of the environment |
    | `POST /episode/say` with `{"text": …}` | say something: a question, where there is somebody to ask |
    | `POST /episode/next` | begin the next episode |

    Args:
        app: serves the services, each below its name.
        episodes: what is played.
    """

    app: ASGIApp
    episodes: ServedEpisodes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if path == EPISODE or path.startswith(f"{EPISODE}/"):
            body = await _body(receive)
            answer = self._answer(scope["method"], path.removeprefix(EPISODE), body)
            await answer(scope, receive, send)
            return
        service = path[1:].partition("/")[0]
        if service not in self.episodes.services:
            await self.app(scope, receive, send)
        elif over := self.episodes.summary():
            await _refusal(409, f"{over} POST {EPISODE}/next begins another one.")(scope, receive, send)
        else:
            await self._served(service, scope, receive, send)

    async def _served(self, service: str, scope: Scope, receive: Receive, send: Send) -> None:
        asked, answered = bytearray(), bytearray()
        began, status = time.perf_counter(), 0
        held: list[Message] = []

        async def read() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def judge(message: Message) -> None:
            # Nothing waits between the service's answer and here, so the services are as this request left
            # them.
            nonlocal status
            held.append(message)
            status = message.get("status", status)
            answered.extend(message.get("body", b""))
            if message["type"] == "http.response.start" or message.get("more_body", False):
                return
            path = unquote(scope["path"]).removeprefix(f"/{service}") or "/"
            query = scope["query_string"].decode("latin-1")
            exchange = Exchange(service, scope["method"], path, query, bytes(asked), status, bytes(answered))
            self.episodes.exchanged(exchange, time.perf_counter() - began)
            for each in held:
                await send(each)

        await self.app(scope, read, judge)

    def _answer(self, method: str, action: str, body: bytes | None) -> JSONResponse:
        if not action:
            return JSONResponse(self._shown()) if method == "GET" else _refusal(405, f"GET {EPISODE}")
        if action not in ("/call", "/say", "/next"):
            return _refusal(404, f"there are GET {EPISODE}, POST {EPISODE}/call, /say and /next")
        if method != "POST":
            return _refusal(405, f"POST {EPISODE}{action}")
        try:
            given = json.loads(body or b"{}") if body is not None else None
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            return _refusal(
                400, f"the body of {EPISODE}{action} is a JSON object of at most {MOST_BODY} bytes"
            )
        try:
            return self._acted(action, given)
        except NoEpisode as over:
            return _refusal(409, f"{over} POST {EPISODE}/next begins another one.")
        except EnvironmentFault as fault:
            return _refusal(
                500, f"the environment broke: {fault}; POST {EPISODE}/next begins another episode"
            )

    def _acted(self, action: str, given: dict[str, Any]) -> JSONResponse:
        if action == "/next":
            self.episodes.next()
            return JSONResponse(self._shown())
        if action == "/say":
            if list(given) != ["text"] or not isinstance(given["text"], str):
                return _refusal(400, 'send {"text": "…"}')
            step = self.episodes.say(given["text"])
        else:
            arguments = given.get("arguments", {})
            if not given.keys() <= {"name", "arguments"} or not isinstance(given.get("name"), str):
                return _refusal(400, 'send {"name": "…", "arguments": {…}}')
            step = self.episodes.call(given["name"], arguments)
        return JSONResponse(
            {"messages": step.messages, "over": bool(self.episodes.summary()), "end": self.episodes.summary()}
        )

    def _shown(self) -> dict[str, Any]:
        episodes = self.episodes
        tools = [tool.openai["function"] for tool in episodes.env.tools]
        return {**episodes.record(), "text": transcript(episodes.task), "tools": tools}


def _refusal(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": True, "reason": reason}, status)


async def _body(receive: Receive) -> bytes | None:
    """A request's body; None if it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        if len(body) <= MOST_BODY:
            body.extend(message.get("body", b""))
        if not message.get("more_body", False):
            return bytes(body) if len(body) <= MOST_BODY else None
