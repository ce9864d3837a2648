"""`OpenAIServer`: a server with OpenAI's interface, used by many requests at once.

Every request ends in one of four ways. It is answered. Or the failure is the model's: what it wrote could not
be read by its own server (`MalformedOutput`), or the conversation does not fit it (`ContextTooLong`). Or the
server refuses the conversation (`ServerRefusal`). Or the failure is ours: transient ones (no connection, a
broken connection, no answer in time, an overload, an unreadable answer) are retried, and limits on requests
waited for, before they become an `EngineFault` of that episode; permanent ones (no access, no credit, no such
model) are a `UserError`, and so is any other refusal before the server's first good answer.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import h11
import httpx

from ludus.agents.engines import catalogue
from ludus.agents.engines.answers import BadAnswer, media_type
from ludus.agents.engines.base import EngineFault, ServerRefusal
from ludus.agents.engines.connections import Connections
from ludus.agents.engines.dialect import MAX_COMPLETION_TOKENS, MAX_TOKENS, Dialect, room
from ludus.agents.engines.failures import Failure, Kind, failure_within, read_failure
from ludus.agents.engines.http1 import Broken, Response, Route
from ludus.agents.engines.options import ServerListener, ServerOptions
from ludus.agents.engines.pace import Pace, pace_of
from ludus.agents.engines.retries import backoff_s
from ludus.agents.formats.calls.reply import mended
from ludus.tools.errors import UserError

LONGEST_WAIT_S = 300.0
"""A server that asks for a longer wait is not waited for."""
PATIENCE_S = 600.0
"""A server that limits requests is asked again until it has answered none for so long."""
MAX_ANSWER = 64 * 2**20
"""The most bytes of one answer."""
_TIME_OUTS = 2
"""A request that times out is sent at most this many times, however many retries are left."""
_NEARLY_FULL = 0.9
"""A request that a server refuses for an unknown reason is too long if it fills so much of the context."""
_OVERLOADED = (503, 529)
_HALF_CHARACTER = re.compile(rb"\\u[dD]|\xed[\xa0-\xbf]")
"""An escaped surrogate, or one in bytes, which Python reads although UTF-8 has none."""
_NO_TOOLS = re.compile(r"tool|function", re.I)
_TOOLS_ADVICE = "; for a model whose server reads no tool calls, give --written-calls hermes"

T = TypeVar("T")


class ContextTooLong(Exception):
    """The prompt, or the prompt plus the tokens that may be sampled, exceeds the model's context."""


class MalformedOutput(Exception):
    """The server could not read what its model wrote, mostly a tool call; the message says why."""

    def __init__(self, why: str, written: str) -> None:
        super().__init__(why)
        self.written = written
        """The model's text, as far as the server shows it."""


class _Again(Exception):
    """A failure that may pass."""

    def __init__(self, failure: Failure, is_time_out: bool = False) -> None:
        super().__init__(failure.said)
        self.failure = failure
        self.is_time_out = is_time_out


class _Refused(Exception):
    """A refusal of the request as it is."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.said)
        self.failure = failure


@dataclass(frozen=True)
class OpenAIServer:
    """The address of a model, and how requests to it are sent."""

    url: str
    """Up to and including the version: `http://localhost:8000/v1`."""
    model: str
    """The server's name for the model."""
    max_context: int | None = None
    """Prompt and completion together, in tokens, if the server tells."""
    options: ServerOptions = field(default_factory=ServerOptions)
    listener: ServerListener = field(default_factory=ServerListener, compare=False, repr=False)
    dialect: Dialect = field(default_factory=Dialect, init=False, repr=False, compare=False)
    _connections: "dict[asyncio.AbstractEventLoop, Connections]" = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _targets: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _answered: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)
    """Set at the first good answer: what the server refuses before that, it will always refuse."""

    @classmethod
    def connect(
        cls,
        url: str,
        model: str | None = None,
        *,
        max_context: int | None = None,
        options: ServerOptions | None = None,
        listener: ServerListener | None = None,
        **changes: Any,
    ) -> "OpenAIServer":
        """Ask the server which models it has, and choose the one with that name, or the only one.

        Args:
            url: of the server, with or without `/v1`; a name after `#` is the model's.
            changes: fields of `ServerOptions`, such as `concurrency`.

        Raises:
            UserError: no answer, access is refused, it is another kind of server, or it lacks the model.
        """
        options = replace(options or ServerOptions(), **changes)
        address, _, fragment = url.partition("#")
        found, name, length = catalogue.find_model(
            catalogue.normal_url(address), model or fragment or None, options
        )
        return cls(found, name, max_context or length, options, listener or ServerListener())

    def __post_init__(self) -> None:
        self._pace.listeners.add(self.listener)

    @property
    def name(self) -> str:
        return f"{self.url}#{self.model}"

    @property
    def _pace(self) -> Pace:
        return pace_of(self.name)

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[Any], T],
        seed: int = 0,
        *,
        optional: Collection[str] = (),
        prompt_tokens: int = 0,
        timed: Callable[[float], object] = lambda seconds: None,
    ) -> T:
        """Send a request until it is answered, and return what `read` makes of the answer's JSON.

        Args:
            path: below the URL, such as `completions`.
            body: `model` and the options' `extra` are added; fields that are None are not sent.
            read: raises `BadAnswer` if the JSON cannot be used, which counts as a transient failure.
            seed: of the jitter between the attempts.
            optional: fields of the body that may be left out, renamed or made smaller where the server does
                not take them.
            prompt_tokens: about how long the prompt is.
            timed: called with the seconds that each response took; the last one's are the answer's.

        Raises:
            EngineFault: every attempt failed.
            ContextTooLong: the conversation does not fit the model.
            MalformedOutput: the server could not read its own model's output.
            ServerRefusal: the server will not answer this conversation.
            UserError: no attempt would succeed.
        """
        whole = {"model": self.model, **body, **self.options.extra}
        optional = {*optional} - self.options.extra.keys()
        pace, began = self._pace, time.monotonic()
        attempts = retried = time_outs = 0
        is_limited = False
        while True:
            attempts += 1
            spoken = self.dialect.applied(whole)
            sent_at = await pace.enter(first=is_limited)
            is_limited = False
            try:
                response = await self._exchange(path, _encode(spoken))
                timed(response.seconds)
                answer = self._read(response, read)
                pace.answered(sent_at)
                return answer
            except _Again as again:
                failure, is_limited = again.failure, again.failure.kind is Kind.LIMITED
                time_outs += again.is_time_out
            except _Refused as refused:
                pace.answered(sent_at)
                whole = self._mended(refused.failure, whole, spoken, optional, prompt_tokens)
                continue
            finally:
                if is_limited:
                    pace.limited(sent_at, _bearable(failure.wait_s))
                pace.leave()
            if is_limited:
                is_last = time.monotonic() - max(began, pace.answered_at) > PATIENCE_S
            else:
                if failure.status in _OVERLOADED:
                    pace.overloaded(sent_at)
                is_last = retried == self.options.retries or time_outs == _TIME_OUTS
            if is_last or (failure.wait_s or 0.0) > LONGEST_WAIT_S:
                tries = f"{attempts} attempt{'s' * (attempts > 1)}"
                raise EngineFault(f"{self.name}: {self._told(failure)} ({tries})")
            if not is_limited:  # where it is, the pace keeps all requests back
                await asyncio.sleep(backoff_s(retried, seed) if failure.wait_s is None else failure.wait_s)
                retried += 1

    async def _exchange(self, path: str, content: bytes) -> Response:
        """One request and its whole answer.

        Raises:
            _Again: no answer came, or only part of one.
        """
        connections = self._connected()
        try:
            request = self._request(path, len(content), connections.route)
            response = await connections.exchange(request, content, self.options.timeout_s, MAX_ANSWER)
            return _decoded(response) if "content-encoding" in response.headers else response
        except TimeoutError:
            raise _Again(
                _trouble(f"no answer within {self.options.timeout_s:g} s"), is_time_out=True
            ) from None
        except (Broken, h11.LocalProtocolError) as error:  # a header of the user's may contradict ours
            raise _Again(_trouble(str(error))) from error
        except httpx.DecodingError as error:
            raise _Again(_trouble(catalogue.said(error))) from error

    def _request(self, path: str, length: int, route: Route) -> h11.Request:
        target = self._targets.get(path)
        if target is None:  # parsing a URL takes longer than all else here
            url = httpx.URL(f"{self.url}/{path}", params=dict(self.options.query) or None)
            target = str(url) if route.is_forward else url.raw_path.decode()
            self._targets[path] = target
        headers = {
            "host": route.server.netloc.decode(),
            "content-type": "application/json",
            "content-length": str(length),
            **self.options.all_headers(route.server.host),
        }
        through = route.proxy_headers if route.is_forward else []
        return h11.Request(method="POST", target=target, headers=[*headers.items(), *through])

    def _connected(self) -> Connections:
        loop = asyncio.get_running_loop()
        connections = self._connections.get(loop)
        if connections is None:
            connections = Connections(self.url, self.options.concurrency, self.options.ca)
            self._connections[loop] = connections
            connections.keep(when_done=lambda: self._connections.pop(loop))
        return connections

    def _read(self, response: Response, read: Callable[[Any], T]) -> T:
        """
        Raises:
            _Again: the failure may pass.
            _Refused: it will not.
            UserError: it is another kind of server.
        """
        if response.status >= 300:
            failure = read_failure(response.status, response.headers, response.content, time.time())
            if response.status < 400 and "location" in response.headers:
                where = response.headers["location"]
                failure = replace(failure, said=f"it points to {where}: use that URL")
            raise _unanswered(failure)
        try:
            answer = json.loads(response.content)
            if _HALF_CHARACTER.search(response.content):
                answer = mended(answer)
        except (ValueError, RecursionError):
            kind = media_type(response.headers)
            problem = f"an answer that is not JSON ({kind})"
            if not self._answered.is_set() and "json" not in kind:
                raise UserError(f"{self.name}: {problem}: is the URL right? It usually ends in /v1") from None
            raise _Again(_trouble(problem)) from None
        if failure_inside := failure_within(answer, time.time()):
            raise _unanswered(failure_inside)
        try:
            read_answer = read(answer)
        except BadAnswer as bad:
            raise _Again(_trouble(str(bad))) from None
        self._answered.set()
        return read_answer

    def _mended(
        self,
        failure: Failure,
        whole: dict[str, Any],
        spoken: dict[str, Any],
        optional: Collection[str],
        prompt_tokens: int,
    ) -> dict[str, Any]:
        """The request with which to try again after the refusal of `spoken`, which is `whole` in the server's
        dialect.

        Raises:
            ContextTooLong, MalformedOutput, ServerRefusal, EngineFault, UserError: there is none; see `post`.
        """
        if failure.kind is Kind.MALFORMED:
            raise MalformedOutput(self._told(failure), failure.written)
        if failure.kind is Kind.REFUSAL:
            raise ServerRefusal(f"{self.name}: {self._told(failure)}")
        if note := self.dialect.learn(failure, spoken, optional):
            self.listener.note(f"{self.name}: {note}")
        if self.dialect.applied(whole) != spoken:
            return whole
        if failure.kind is Kind.TOO_LONG:
            limit = next((name for name in (MAX_COMPLETION_TOKENS, MAX_TOKENS) if name in spoken), None)
            if limit is not None and optional:
                left = room(failure, spoken[limit])
                if 0 < left < spoken[limit]:
                    return {**whole, (MAX_TOKENS if MAX_TOKENS in whole else limit): left}
            raise ContextTooLong(self._told(failure))
        is_full = self.max_context is not None and prompt_tokens > _NEARLY_FULL * self.max_context
        if failure.kind is Kind.OTHER and failure.status in (400, 413, 422) and is_full:
            raise ContextTooLong(self._told(failure))
        raise self._error(failure)

    def _error(self, failure: Failure) -> Exception:
        """What a refusal means that is neither about the conversation nor about the form of the request."""
        told, is_answered = self._told(failure), self._answered.is_set()
        if failure.kind is Kind.NO_CREDIT:
            return UserError(f"{self.name}: the account has no credit for this request: {told}")
        if failure.kind is Kind.NO_ACCESS:
            return UserError(f"{self.name} refuses access ({told}): {catalogue.key_advice(self.options)}")
        if failure.kind is Kind.NO_MODEL:
            names = catalogue.listing(catalogue.model_names(self.url, self.options))
            return UserError(f"{self.url} has no model {self.model!r}: name another{names}")
        what = f"{self.name} refuses the request (status {failure.status}): {told}"
        if is_answered:
            return EngineFault(what)
        return UserError(f"{what}{_TOOLS_ADVICE if _NO_TOOLS.search(failure.message) else ''}")

    def _told(self, failure: Failure) -> str:
        return self.options.without_secrets(failure.said)


def _decoded(response: Response) -> Response:
    """
    Raises:
        httpx.DecodingError: the content is not what its head says.
    """
    decoded = httpx.Response(response.status, headers=response.headers, content=response.content)
    return replace(response, content=decoded.content)


def _unanswered(failure: Failure) -> Exception:
    may_pass = failure.kind in (Kind.TROUBLE, Kind.LIMITED)
    return _Again(failure) if may_pass else _Refused(failure)


def _trouble(said: str) -> Failure:
    return Failure(Kind.TROUBLE, said, 0)


def _bearable(wait_s: float | None) -> float | None:
    return None if wait_s is None else 0.0 if wait_s > LONGEST_WAIT_S else wait_s


def _encode(body: Mapping[str, Any]) -> bytes:
    # A model's text may hold half of a surrogate pair, which no server accepts.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
