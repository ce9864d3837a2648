"""How every client of a service handles errors."""

from collections.abc import Callable
from typing import Any

import httpx

from ludus.tools.errors import ToolError, ToolFault


class Refused(ToolError):
    """A request that the service understood and refused; its status says why."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


def ask(
    http: httpx.Client,
    method: str,
    path: str,
    *,
    explain: Callable[[httpx.Response], str] | None = None,
    **arguments: Any,
) -> httpx.Response:
    """Send a request, and return a response that carries an answer (status below 400).

    Args:
        explain: reads what a refusal says in the service's own protocol; empty if it says nothing. With it, a
            403 that is explained is a refusal, too.
        arguments: of `httpx.Client.request`: `params`, `json`, `content`, `headers`.

    Raises:
        ToolError: something to which the caller can react: a refusal, a time-out, a wrong request. The model
            reads its text. A `Refused`, with the status, if the service refused.
        ToolFault: there is no service: the server is unreachable or does not speak HTTP.
    """
    try:
        response = http.request(method, path, **arguments)
    except httpx.TimeoutException:
        raise ToolError("the service did not answer in time; try again") from None
    except httpx.InvalidURL as error:
        # The model's text has become part of the URL; a wrong base URL is noticed when the client is made.
        raise ToolError(f"the request cannot be sent: {error}; write something shorter") from None
    except httpx.HTTPError as error:
        raise ToolFault(f"{http.base_url}: {type(error).__name__}: {error}") from error
    if response.status_code < 400:
        return response
    if response.status_code in (429, 503):
        after = response.headers.get("retry-after", "")
        when = f"in {after} seconds" if after.isdigit() else "later"
        raise ToolError(f"the service is busy (status {response.status_code}); try again {when}")
    if response.status_code >= 500:
        raise ToolError(f"the service failed (status {response.status_code}); try again")
    explained = explain(response) if explain else ""
    if response.status_code in (401, 407) or (response.status_code == 403 and not explained):
        raise ToolFault(
            f"{response.url} refuses access (status {response.status_code}): check the credentials"
        )
    raise Refused(explained or _reason(response), response.status_code)


def ask_json(http: httpx.Client, method: str, path: str, **arguments: Any) -> Any:
    """The JSON answer to a request.

    Raises:
        ToolError: see `ask`.
        ToolFault: see `ask`; or the answer is not JSON.
    """
    return read_json(ask(http, method, path, **arguments))


def read_json(response: httpx.Response) -> Any:
    """The JSON of an answer.

    Raises:
        ToolFault: it is not JSON.
    """
    try:
        return response.json()
    except ValueError:
        kind = response.headers.get("content-type", "unknown type")
        raise ToolFault(f"{response.url} answered with no JSON ({kind}): is the URL right?") from None


def _reason(response: httpx.Response) -> str:
    """A service's explanation of what is wrong with a request."""
    try:
        said = response.json()
    except ValueError:
        said = None
    reason = said.get("reason") if isinstance(said, dict) else None
    return str(reason) if reason else f"the service refused the request (status {response.status_code})"
