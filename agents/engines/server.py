"""`OpenAIServer`: a server with OpenAI's interface, used by many requests at once.

There are three kinds of failures. Transient ones (no connection, a broken connection, no answer in time, 408,
429, 5xx, an unreadable answer) are retried and finally become an `EngineFault` of that episode. Permanent
ones (no access, no such model) are a `UserError`, and so is any refusal before the server's first good
answer. A conversation that does not fit the model is a `ContextTooLong`.
"""

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpcore
import httpx

from ludus.agents.engines.answers import BadAnswer, body_text, media_type, reason, without_key
from ludus.agents.engines.base import EngineFault
from ludus.agents.engines.connections import Connection, Connections
from ludus.agents.engines.retries import backoff_s, retry_after_s
from ludus.tools.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
CONNECT_S = 10.0
LONGEST_RETRY_AFTER_S = 300.0
MAX_ANSWER = 64 * 2**20
"""The most bytes of one answer."""
_TIME_OUTS = 2
"""A request that times out is sent at most this many times, however many retries are left."""
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum context|max_model_len|too many tokens|prompt is too long", re.I
)

T = TypeVar("T")
_BROKEN = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.ConnectionNotAvailable,
)


class ContextTooLong(Exception):
    """The prompt, or the prompt plus the tokens that may be sampled, exceeds the model's context."""


class _Trouble(Exception):
    """A transient failure. `wait_s`: how long the server asks us to wait."""

    def __init__(self, what: str, wait_s: float | None = None, is_time_out: bool = False) -> None:
        super().__init__(what)
        self.wait_s = wait_s
        self.is_time_out = is_time_out


@dataclass(frozen=True)
class OpenAIServer:
    """The address of a model, and how requests to it are sent.

    The key is read from its environment variable for each request and never stored.
    """

    url: str
    """Up to and including the version: `http://localhost:8000/v1`."""
    model: str
    """The server's name for the model."""
    max_context: int | None = None
    """Prompt and completion together, in tokens, if the server tells (vLLM does)."""
    key_variable: str = KEY_VARIABLE
    concurrency: int = 64
    """Requests in flight; the others wait."""
    timeout_s: float = 600.0
    """Time limit for one answer."""
    retries: int = 6
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields for the body of every request; they override the usual ones, and None removes a field."""
    _connections: "dict[asyncio.AbstractEventLoop, Connections]" = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _answered: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)
    """Set at the first good answer: what the server refuses before that, it will always refuse."""

    @classmethod
    def connect(cls, url: str, model: str | None = None, **options: Any) -> "OpenAIServer":
        """Ask the server which models it has, and choose the one with that name, or the only one.

        Args:
            url: of the server, with or without `/v1`; a name after `#` is the model's.
            options: further fields, such as `concurrency`.

        Raises:
            UserError: no answer, access is refused, it is another kind of server, or it lacks the model.
        """
        url, _, fragment = url.partition("#")
        model = model or fragment or None
        url = _normal(url)
        listed = _models(url, options.get("key_variable", KEY_VARIABLE))
        names = [str(entry["id"]) for entry in listed]
        if model is None:
            if len(names) != 1:
                raise UserError(
                    f"{url} has {len(names) or 'no list of its'} models: name one as {url}#NAME"
                    + _listing(names)
                )
            model = names[0]
        elif names and model not in names:
            raise UserError(f"{url} has no model {model!r}: name one that it has" + _listing(names))
        length = next((entry.get("max_model_len") for entry in listed if entry["id"] == model), None)
        return cls(url, model, **{"max_context": length if isinstance(length, int) else None, **options})

    @property
    def name(self) -> str:
        return f"{self.url}#{self.model}"

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T], seed: int = 0) -> T:
        """Send a request until it is answered, and return what `read` makes of the answer's JSON.

        Args:
            path: below the URL, such as `completions`.
            body: `model` and `extra` are added.
            read: raises `BadAnswer` if the JSON cannot be used, which counts as a transient failure.
            seed: of the jitter between the attempts.

        Raises:
            EngineFault: every attempt failed.
            ContextTooLong: the server says that the prompt is too long.
            UserError: no attempt would succeed.
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
            _Trouble: no answer came, or only part of one.
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
            async with self._connection() as connection, asyncio.timeout(self.timeout_s):
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

    def _connection(self) -> AbstractAsyncContextManager[Connection]:
        loop = asyncio.get_running_loop()
        connections = self._connections.get(loop)
        if connections is None:
            connections = self._connections[loop] = Connections(self.url, self.concurrency)
            connections.keep(when_done=lambda: self._connections.pop(loop))
        return connections.borrow()

    def _read(self, response: httpx.Response, read: Callable[[Any], T]) -> T:
        status = response.status_code
        if status in (408, 409, 425, 429) or status >= 500:
            wait_s = retry_after_s(response.headers.get("retry-after", ""), time.time())
            raise _Trouble(f"status {status}: {reason(response, self.key_variable)}", wait_s)
        if status in (401, 403):
            raise UserError(
                f"{self.name} refuses access ({reason(response, self.key_variable)}): "
                f"{_key_advice(self.key_variable)}"
            )
        if status >= 300:
            self._refused(response)
        try:
            answer = read(json.loads(response.content))
        except (ValueError, RecursionError):
            said = f"an answer that is not JSON ({media_type(response)})"
            if not self._answered.is_set() and "json" not in media_type(response):
                raise UserError(f"{self.name}: {said}: is the URL right? It usually ends in /v1") from None
            raise _Trouble(said) from None
        except BadAnswer as bad:
            raise _Trouble(without_key(str(bad), self.key_variable)) from None
        self._answered.set()
        return answer

    def _refused(self, response: httpx.Response) -> None:
        """Raise the error that a status from 300 to 499 stands for."""
        said = reason(response, self.key_variable)
        if response.status_code in (400, 413, 422) and _TOO_LONG.search(body_text(response)):
            raise ContextTooLong(said)
        if response.status_code == 404 and "model" in said.lower():
            names = [str(entry["id"]) for entry in _models(self.url, self.key_variable)]
            raise UserError(f"{self.url} has no model {self.model!r}: name another" + _listing(names))
        what = f"{self.name} refuses the request (status {response.status_code}): {said}"
        if self._answered.is_set():
            raise EngineFault(what)
        where = response.headers.get("location")
        raise UserError(what + (f"; it points to {where}: use that URL" if where else ""))


def _models(url: str, key_variable: str) -> list[dict[str, Any]]:
    """The models that `GET /models` lists; empty if the server has no such list.

    Raises:
        UserError: no answer, access is refused, or it is another kind of server.
    """
    try:
        response = httpx.get(f"{url}/models", headers=_headers(key_variable), timeout=CONNECT_S)
    except httpx.UnsupportedProtocol:
        raise UserError(f"{url} is not the URL of a server, such as http://localhost:8000/v1") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"no answer from {url} ({_said(error)}): is the server running there?") from error
    if response.status_code in (401, 403):
        raise UserError(
            f"{url} refuses access ({reason(response, key_variable)}): {_key_advice(key_variable)}"
        )
    if response.status_code in (404, 405, 501) and "json" in media_type(response):
        return []
    try:
        response.raise_for_status()
        listed = response.json()["data"]
        return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{url}/models is not a list of models (status {response.status_code}, {media_type(response)}): "
            "give the URL of a server with OpenAI's interface, usually ending in /v1"
        ) from None


def _normal(url: str) -> str:
    """The URL up to the version, without the usual endpoints.

    Raises:
        UserError: it is not a URL, or contains a password, which every message would show.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UserError(f"{url!r} is not a URL ({error}): give one like http://localhost:8000/v1") from None
    if not parsed.host:
        raise UserError(f"{url!r} names no server: give a URL like http://localhost:8000/v1")
    if parsed.userinfo:
        raise UserError(f"the URL for {parsed.host} holds a name or a password: set {KEY_VARIABLE} instead")
    url = re.sub(r"/(chat/completions|completions|models)$", "", url.strip().rstrip("/"))
    return url if httpx.URL(url).path.strip("/") else f"{url}/v1"


def _headers(key_variable: str) -> dict[str, str]:
    key = os.environ.get(key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in {key_variable} has characters that no key can have: set it again")
    return {"user-agent": "ludus", **({"authorization": f"Bearer {key}"} if key else {})}


def _key_advice(key_variable: str) -> str:
    is_set = bool(os.environ.get(key_variable, "").strip())
    return f"the key in {key_variable} is not valid there" if is_set else f"set its key in {key_variable}"


def _listing(names: list[str]) -> str:
    return f" ({', '.join(names[:20])}{', …' * (len(names) > 20)})" if names else ""


def _encode(body: Mapping[str, Any]) -> bytes:
    # A model's text may hold half of a surrogate pair, which no server accepts.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


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


def _said(error: Exception) -> str:
    """An exception's message, or its type: most of httpx's exceptions have no message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
