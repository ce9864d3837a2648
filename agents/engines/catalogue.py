"""Which models a server has, how it calls them, and how long their contexts are."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from ludus.agents.engines.answers import media_type
from ludus.agents.engines.connections import CONNECT_S, tls_context
from ludus.agents.engines.failures import read_failure
from ludus.agents.engines.options import ServerOptions
from ludus.tools.errors import UserError
from ludus.tools.wording import did_you_mean

_LENGTHS = (
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
    "loaded_context_length",
)
"""What vLLM and SGLang; OpenRouter and Together; Groq; Mistral and LM Studio call a context's length."""


def find_model(url: str, name: str | None, options: ServerOptions) -> tuple[str, str, int | None]:
    """Ask the server which models it has, and choose the one of that name, or the only one.

    A named model needs no list: what is wrong with the name shows at the first request.

    Args:
        url: up to and including the version.

    Returns:
        The URL (another one, if the list was redirected), the server's name for the model, and the length of
        its context, prompt and completion together, if the server tells.

    Raises:
        UserError: no answer, access is refused, it is another kind of server, or it lacks the model.
    """
    deployment = re.search(r"/deployments/([^/]+)", url)  # Azure: the model is part of the URL
    name = name or (deployment[1] if deployment else None)
    try:
        url, listed = _models(url, options)
    except _NoList as refusal:
        if name is None:
            raise UserError(str(refusal)) from None
        return url, name, None
    names = [str(entry["id"]) for entry in listed]
    if name is None:
        if len(names) != 1:
            raise UserError(
                f"{url} has {len(names) or 'no list of its'} models: name one as {url}#NAME" + listing(names)
            )
        name = names[0]
    found = next((entry for entry in listed if _same(str(entry["id"]), name)), None)
    if found is None:
        if names and deployment is None:
            hint = did_you_mean(name, names, otherwise=f"name one that it has{listing(names)}")
            raise UserError(f"{url} has no model {name!r}: {hint}")
        return url, name, None
    return url, name, _length(found)


def _same(listed: str, name: str) -> bool:
    """Whether a listed model is the one that a user means: Ollama lists `llama3.1:latest` for `llama3.1`,
    Gemini `models/gemini-pro` for `gemini-pro`."""
    return name in (listed, listed.removesuffix(":latest"), listed.removeprefix("models/"))


def _length(entry: Mapping[str, Any]) -> int | None:
    lengths = [entry.get(key) for key in _LENGTHS]
    known = [length for length in lengths if type(length) is int and length > 0]
    return min(known) if known else None


def model_names(url: str, options: ServerOptions) -> list[str]:
    """The models that the server lists; empty if it does not."""
    try:
        return [str(entry["id"]) for entry in _models(url, options)[1]]
    except (_NoList, UserError):
        return []


class _OtherHost(Exception):
    """A redirect that is not followed."""


def _same_host_only(host: str) -> Callable[[httpx.Request], None]:
    """Keeps redirects from taking keys, which may stand in any header, to another host."""

    def refuse(request: httpx.Request) -> None:
        if request.url.host != host:
            raise _OtherHost(request.url.host)

    return refuse


class _NoList(Exception):
    """The server answers, but gives no list of models; the message says what to do."""


def _models(url: str, options: ServerOptions) -> tuple[str, list[dict[str, Any]]]:
    """The models that `GET /models` lists, empty if there is no such address; and the server's URL.

    Raises:
        UserError: nobody answers.
        _NoList: the server gives something else than a list.
    """
    try:
        with httpx.Client(
            verify=tls_context(options.ca),
            follow_redirects=True,
            timeout=CONNECT_S,
            event_hooks={"request": [_same_host_only(httpx.URL(url).host)]},
        ) as client:
            headers = options.all_headers(httpx.URL(url).host)
            response = client.get(f"{url}/models", headers=headers, params=dict(options.query) or None)
    except _OtherHost as other:
        raise _NoList(f"{url}/models points to another host, {other}: {_name_it(url)}") from None
    except httpx.UnsupportedProtocol:
        raise UserError(f"{url} is not the URL of a server, such as http://localhost:8000/v1") from None
    except httpx.TooManyRedirects:
        raise _NoList(f"{url}/models redirects in a circle: {_name_it(url)}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(f"no answer from {url} ({said(error)}): is the server running there?") from error
    if response.status_code in (401, 403):
        failure = read_failure(response.status_code, {}, response.content, 0.0)
        reason = options.without_secrets(failure.said)
        raise _NoList(f"{url} refuses access ({reason}): {key_advice(options)}")
    if response.status_code in (404, 405, 501) and "json" in media_type(response.headers):
        return url, []
    try:
        response.raise_for_status()
        listed = response.json()
        entries = listed if isinstance(listed, list) else listed["data"]
        models = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, RecursionError):
        raise _NoList(
            f"{url}/models is not a list of models (status {response.status_code}, "
            f"{media_type(response.headers)}): give the URL of a server with OpenAI's interface, usually "
            f"ending in /v1; or {_name_it(url)}"
        ) from None
    moved = response.url.copy_with(query=None)
    is_moved = response.history and moved.path.endswith("/models")
    return (str(moved).removesuffix("/models") if is_moved else url), models


def normal_url(url: str) -> str:
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
        raise UserError(f"the URL for {parsed.host} holds a name or a password: set OPENAI_API_KEY instead")
    if parsed.query:
        raise UserError(f"the URL for {parsed.host} has a query: give it with --query KEY=VALUE")
    url = re.sub(r"/(chat/completions|completions|models)$", "", url.strip().rstrip("/"))
    return url if httpx.URL(url).path.strip("/") else f"{url}/v1"


def key_advice(options: ServerOptions) -> str:
    name = options.key_variable
    return f"the key in {name} is not valid there" if options.key else f"set its key in {name}"


def listing(names: list[str]) -> str:
    return f" ({', '.join(names[:20])}{', …' * (len(names) > 20)})" if names else ""


def said(error: Exception) -> str:
    """An exception's message, or its type: most of httpx's exceptions have no message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _name_it(url: str) -> str:
    return f"name its model, as {url}#NAME"
