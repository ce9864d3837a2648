"""`OpenAIServer`: a server with OpenAI's interface, asked by many at once.

What goes wrong is of three kinds. What may get better (no connection, a connection that breaks, no answer in
time, 408, 429, 5xx, an answer that is none) is tried again, and in the end an `EngineFault` of that episode.
What will not get better (no access, no such model) is a `UserError`, as is whatever is refused before the
server has ever answered. A conversation that does not fit the model is a `ContextTooLong`.
"""

import asyncio
import json
import math
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from ludus.agents.engines.base import EngineFault
from ludus.agents.engines.retries import backoff_s, retry_after_s
from ludus.tools.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
CONNECT_S = 10.0
LONGEST_RETRY_AFTER_S = 300.0
MAX_ANSWER = 64 * 2**20
"""Bytes of one answer."""
_TIME_OUTS = 2
"""A request that was not answered in time is sent this often, however many retries are left."""
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum context|max_model_len|too many tokens|prompt is too long", re.I
)

T = TypeVar("T")
_Connection = httpcore.AsyncHTTPConnection | httpcore.AsyncHTTPProxy
_BROKEN = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.ConnectionNotAvailable,
)


class ContextTooLong(Exception):
    """The prompt, or the prompt and what may be sampled, is more than the model takes."""


class BadAnswer(Exception):
    """What came back is no answer; the text says what is wrong with it."""


class _Trouble(Exception):
    """Something that may get better. `wait_s`: what the server asks for."""

    def __init__(self, what: str, wait_s: float | None = None, is_time_out: bool = False) -> None:
        super().__init__(what)
        self.wait_s = wait_s
        self.is_time_out = is_time_out


@dataclass(frozen=True)
class OpenAIServer:
    """Where a model answers, and how patiently it is asked.

    The key is read from its environment variable for each request; it is kept nowhere.
    """

    url: str
    """Up to and with the version: `http://localhost:8000/v1`."""
    model: str
    """The server's name for it."""
    max_context: int | None = None
    """Prompt and completion together, in tokens, where the server tells (vLLM does)."""
    key_variable: str = KEY_VARIABLE
    concurrency: int = 64
    """Requests in flight; the others wait."""
    timeout_s: float = 600.0
    """For one answer."""
    retries: int = 6
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields for the body of every request, over those that are sent anyway; None leaves one out."""
    _lanes: "dict[asyncio.AbstractEventLoop, _Lanes]" = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _answered: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)
    """Set once the server has answered a request well: what it refuses before, it will refuse always."""

    @classmethod
    def connect(cls, url: str, model: str | None = None, **options: Any) -> "OpenAIServer":
        """Ask the server which models it has, and take the one of that name, or the only one.

        Args:
            url: of the server, with or without `/v1`; a name behind `#` is the model's.
            options: further fields, such as `concurrency`.

        Raises:
            UserError: nobody answers, access is refused, it is no such server, or it has no such model.
        """
        url, _, fragment = url.partition("#")
        model = model or fragment or None
        url = _normal(url)
        listed = _models(url, options.get("key_variable", KEY_VARIABLE))
        names = [str(one["id"]) for one in listed]
        if model is None:
            if len(names) != 1:
                raise UserError(
                    f"{url} has {len(names) or 'no list of its'} models: name one as {url}#NAME"
                    + _listing(names)
                )
            model = names[0]
        elif names and model not in names:
            raise UserError(f"{url} has no model {model!r}: name one that it has" + _listing(names))
        length = next((one.get("max_model_len") for one in listed if one["id"] == model), None)
        return cls(url, model, **{"max_context": length if isinstance(length, int) else None, **options})

    @property
    def name(self) -> str:
        return f"{self.url}#{self.model}"

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T], seed: int = 0) -> T:
        """Send a request until it is answered; what `read` makes of the answer's JSON.

        Args:
            path: below the URL, such as `completions`.
            body: `model` and `extra` are added.
            read: raises `BadAnswer` where the JSON is no answer, which counts as trouble that may pass.
            seed: of the jitter between the attempts.

        Raises:
            EngineFault: it did not work, often enough.
            ContextTooLong: the server says that the prompt is too long.
            UserError: it will not work.
        """
        whole = {"model": self.model, **body, **self.extra}
        content = _encode({key: value for key, value in whole.items() if value is not None})
        time_outs = 0
        for attempt in range(self.retries + 1):
            try:
                return self._read(await self._exchange(path, content), read)
            except _Trouble as trouble:
                time_outs += trouble.is_time_out
                wait_s = backoff_s(attempt, seed) if trouble.wait_s is None else trouble.wait_s
                last = attempt == self.retries or time_outs == _TIME_OUTS or wait_s > LONGEST_RETRY_AFTER_S
                if last:
                    tries = f"{attempt + 1} attempt{'s' * (attempt > 0)}"
                    raise EngineFault(f"{self.name}: {trouble} ({tries})") from trouble
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _exchange(self, path: str, content: bytes) -> httpx.Response:
        """One request and its whole answer.

        Raises:
            _Trouble: there is none.
        """
        url = httpx.URL(f"{self.url}/{path}")
        headers = {
            "host": url.netloc.decode(),
            "content-type": "application/json",
            "content-length": str(len(content)),
            **_headers(self.key_variable),
        }
        request = httpcore.Request(
            "POST",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=list(headers.items()),
            content=content,
            extensions={"timeout": {"connect": CONNECT_S}},
        )
        try:
            async with self._lane() as connection, asyncio.timeout(self.timeout_s):
                response = await connection.handle_async_request(request)
                try:
                    body = await _whole(response)
                finally:
                    await response.aclose()
            return httpx.Response(response.status, headers=response.headers, content=body)
        except TimeoutError:
            raise _Trouble(f"no answer within {self.timeout_s:g} s", is_time_out=True) from None
        except (*_BROKEN, httpx.DecodingError) as error:
            raise _Trouble(_said(error)) from error

    def _lane(self) -> AbstractAsyncContextManager[_Connection]:
        loop = asyncio.get_running_loop()
        lanes = self._lanes.get(loop)
        if lanes is None:
            lanes = self._lanes[loop] = _Lanes(self.url, self.concurrency)
            lanes.keep(when_done=lambda: self._lanes.pop(loop))
        return lanes.one()

    def _read(self, response: httpx.Response, read: Callable[[Any], T]) -> T:
        status = response.status_code
        if status in (408, 409, 425, 429) or status >= 500:
            wait_s = retry_after_s(response.headers.get("retry-after", ""), time.time())
            raise _Trouble(f"status {status}: {_reason(response, self.key_variable)}", wait_s)
        if status in (401, 403):
            raise UserError(
                f"{self.name} refuses access ({_reason(response, self.key_variable)}): "
                f"{_key_advice(self.key_variable)}"
            )
        if status >= 300:
            self._refused(response)
        try:
            answer = read(json.loads(response.content))
        except (ValueError, RecursionError):
            said = f"an answer that is no JSON ({_kind(response)})"
            if not self._answered.is_set() and "json" not in _kind(response):
                raise UserError(f"{self.name}: {said}: is the URL right? It mostly ends in /v1") from None
            raise _Trouble(said) from None
        except BadAnswer as bad:
            raise _Trouble(_without_key(str(bad), self.key_variable)) from None
        self._answered.set()
        return answer

    def _refused(self, response: httpx.Response) -> None:
        """Raise what a status from 300 to 499 means."""
        reason = _reason(response, self.key_variable)
        if response.status_code in (400, 413, 422) and _TOO_LONG.search(_text(response)):
            raise ContextTooLong(reason)
        if response.status_code == 404 and "model" in reason.lower():
            names = [str(one["id"]) for one in _models(self.url, self.key_variable)]
            raise UserError(f"{self.url} has no model {self.model!r}: name another" + _listing(names))
        what = f"{self.name} refuses the request (status {response.status_code}): {reason}"
        if self._answered.is_set():
            raise EngineFault(what)
        where = response.headers.get("location")
        raise UserError(what + (f"; it points to {where}: use that URL" if where else ""))


_KEEPERS: set[asyncio.Future[None]] = set()


class _Lanes:
    """Connections of one event loop, kept open between requests.

    They are httpcore's, on which httpx stands, without the pool between: the pool looks at every connection
    for every request, which with 256 of them takes ten times as long as the request.
    """

    def __init__(self, url: str, concurrency: int) -> None:
        target = httpx.URL(url)
        self._origin = httpcore.URL(
            scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=b"/"
        ).origin
        self._proxy = None if proxy_bypass(target.host) else getproxies().get(target.scheme)
        # One for all: to load the authorities' certificates takes longer than a hundred requests.
        self._tls = httpx.create_ssl_context() if target.scheme == "https" else None
        self._turn = asyncio.Semaphore(concurrency)
        self._free: list[_Connection] = []

    def keep(self, when_done: Callable[[], object]) -> None:
        """Keep the connections until the event loop ends: `asyncio.run` then cancels whatever still waits."""

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                when_done()
                for connection in self._free:
                    await connection.aclose()

        keeper = asyncio.ensure_future(wait())
        _KEEPERS.add(keeper)  # an event loop itself holds its tasks weakly
        keeper.add_done_callback(_KEEPERS.discard)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[_Connection]:
        """A free connection: the one that was used last, so that the others may be closed."""
        async with self._turn:
            connection = self._free.pop() if self._free else self._new()
            if isinstance(connection, httpcore.AsyncHTTPConnection) and connection.has_expired():
                await connection.aclose()
                connection = self._new()
            try:
                yield connection
            finally:
                if isinstance(connection, httpcore.AsyncHTTPProxy) or connection.is_idle():
                    self._free.append(connection)
                else:
                    await connection.aclose()

    def _new(self) -> _Connection:
        if self._proxy is not None:
            return httpcore.AsyncHTTPProxy(self._proxy, ssl_context=self._tls, max_connections=1)
        return httpcore.AsyncHTTPConnection(self._origin, ssl_context=self._tls)


def read_ids(value: Any) -> tuple[int, ...]:
    """Token ids of an answer; none where there is nothing.

    Raises:
        BadAnswer: they are something else.
    """
    if not isinstance(value, list | None) or not all(type(id) is int and id >= 0 for id in value or ()):
        raise BadAnswer(f"token ids that are none: {str(value)[:80]}")
    return tuple(value or ())


def read_logprobs(value: Any) -> tuple[float, ...]:
    """Log-probabilities of an answer; none where there is nothing.

    Raises:
        BadAnswer: they are something else.
    """
    if not isinstance(value, list | None) or not all(
        type(one) in (int, float) and math.isfinite(one) and one < 0.01 for one in value or ()
    ):
        raise BadAnswer(f"log-probabilities that are none: {str(value)[:80]}")
    return tuple(map(float, value or ()))


def _models(url: str, key_variable: str) -> list[dict[str, Any]]:
    """What `GET /models` lists; empty where the server has no such list.

    Raises:
        UserError: nobody answers, access is refused, or it is no such server.
    """
    try:
        response = httpx.get(f"{url}/models", headers=_headers(key_variable), timeout=CONNECT_S)
    except httpx.UnsupportedProtocol:
        raise UserError(f"{url} is no server's URL: it looks like http://localhost:8000/v1") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"no answer from {url} ({_said(error)}): does the server run there?") from error
    if response.status_code in (401, 403):
        raise UserError(
            f"{url} refuses access ({_reason(response, key_variable)}): {_key_advice(key_variable)}"
        )
    if response.status_code in (404, 405, 501) and "json" in _kind(response):
        return []
    try:
        response.raise_for_status()
        listed = response.json()["data"]
        return [one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{url}/models is no list of models (status {response.status_code}, {_kind(response)}): "
            "give the URL of a server with OpenAI's interface, mostly ending in /v1"
        ) from None


def _normal(url: str) -> str:
    """The URL up to the version, whatever of the usual ends it was given with.

    Raises:
        UserError: it is none, or it holds a password, which every message would show.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UserError(f"{url!r} is no URL ({error}): it looks like http://localhost:8000/v1") from None
    if not parsed.host:
        raise UserError(f"{url!r} names no server: a URL looks like http://localhost:8000/v1")
    if parsed.userinfo:
        raise UserError(f"the URL for {parsed.host} holds a name or a password: set {KEY_VARIABLE} instead")
    url = re.sub(r"/(chat/completions|completions|models)$", "", url.strip().rstrip("/"))
    return url if httpx.URL(url).path.strip("/") else f"{url}/v1"


def _headers(key_variable: str) -> dict[str, str]:
    key = os.environ.get(key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in {key_variable} has characters that no key has: set it again")
    return {"user-agent": "ludus", **({"authorization": f"Bearer {key}"} if key else {})}


def _key_advice(key_variable: str) -> str:
    is_set = bool(os.environ.get(key_variable, "").strip())
    return f"the key in {key_variable} is not valid there" if is_set else f"set its key in {key_variable}"


def _listing(names: list[str]) -> str:
    return f" ({', '.join(names[:20])}{', …' * (len(names) > 20)})" if names else ""


def _encode(body: Mapping[str, Any]) -> bytes:
    # What a model said may hold half of a surrogate pair, which no server reads.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _kind(response: httpx.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0] or "of no type"


def _text(response: httpx.Response) -> str:
    # Not `response.text`: it believes whatever encoding the server names, such as `hex`.
    return response.content.decode("utf-8", "replace")


def _without_key(text: str, key_variable: str) -> str:
    """Some servers repeat the key that they refuse; messages end in logs and results."""
    key = os.environ.get(key_variable, "").strip()
    return text.replace(key, f"${key_variable}") if len(key) >= 8 else text


async def _whole(response: httpcore.Response) -> bytes:
    """
    Raises:
        _Trouble: it is too large.
    """
    parts, length = [], 0
    async for part in response.aiter_stream():
        parts.append(part)
        length += len(part)
        if length > MAX_ANSWER:
            raise _Trouble(f"an answer of more than {MAX_ANSWER >> 20} MiB")
    return b"".join(parts)


def _reason(response: httpx.Response, key_variable: str) -> str:
    """What the server says about its refusal, on one line; an HTML page's title."""
    text = _without_key(_text(response), key_variable)
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        title = re.search(r"<title>(.*?)</title>", text, re.I | re.S)
        said = title[1] if title else "" if "<html" in text.lower() else text
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    line = " ".join(str(said).split())[:300]
    return line or f"{response.reason_phrase or 'no reason given'}"


def _said(error: Exception) -> str:
    """An exception in words; httpx's have mostly none."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
