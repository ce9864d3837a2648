"""Asks a server with OpenAI's interface: for an answer, or for an embedding."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import httpx
from pydantic import AfterValidator

from ludus.envs.faults import EnvironmentFault
from ludus.tools.wording import first_line

TIMEOUT_S = 120.0


def _checked(address: str) -> str:
    url, mark, name = address.partition("#")
    if address and not (url.startswith(("http://", "https://")) and mark and name):
        raise ValueError(
            f"{address!r}: give a server's URL and a model's name, as http://localhost:8000/v1#NAME"
        )
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{address!r} is no URL: {error}") from None
    return address


ServerAddress = Annotated[str, AfterValidator(_checked)]
"""`http://localhost:8000/v1#NAME`; the key, if one is needed, comes from `OPENAI_API_KEY`."""


def completion(address: str, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]) -> str:
    """The text that a model answers at temperature 0.

    Args:
        address: A `ServerAddress`.
        messages: In OpenAI's chat form.
        schema: The JSON schema of the answer, for servers that hold a model to one.

    Raises:
        EnvironmentFault: the server does not answer, or not with a text.
    """
    form = {"name": "verdict", "schema": schema, "strict": True}
    answer = _ask(
        address,
        "chat/completions",
        {
            "messages": list(messages),
            "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": form},
        },
    )
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise EnvironmentFault(f"{address} answered without a text: {json.dumps(answer)[:200]}")
    return text


def embeddings(address: str, text: str) -> tuple[float, ...]:
    """The embedding of a text.

    Raises:
        EnvironmentFault: the server does not answer, or not with numbers.
    """
    answer = _ask(address, "embeddings", {"input": [text]})
    try:
        found = tuple(map(float, answer["data"][0]["embedding"]))
    except (KeyError, IndexError, TypeError, ValueError):
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise EnvironmentFault(f"{address} answered without an embedding: {json.dumps(answer)[:200]}")
    return found


def _ask(address: str, path: str, body: Mapping[str, Any]) -> Any:
    url, _, name = address.partition("#")
    key = os.environ.get("OPENAI_API_KEY", "")
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    try:
        # ASCII, so that half a surrogate pair in an answer can be sent.
        content = json.dumps({"model": name, **body}).encode()
        response = _client(os.getpid()).post(f"{url.rstrip('/')}/{path}", content=content, headers=headers)
        response.raise_for_status()
        return response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise EnvironmentFault(f"{address} did not answer: {first_line(error)[:200]}") from None


@cache
def _client(process: int) -> httpx.Client:
    """Of this process: a fork must not share its parent's connections."""
    return httpx.Client(timeout=TIMEOUT_S)
