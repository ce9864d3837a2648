"""`Exchange`: what a client from outside asked of a service by its own protocol, and what it was answered."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from ludus.envs.chat import Message, tool_result

MOST_RECORDED = 4_000
"""Characters of a body that a record keeps."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer."""

    service: str
    """Its own name, such as `calendar`."""
    method: str
    path: str
    """Below the service's root, with a leading slash, percent-decoded."""
    query: str = ""
    body: bytes = b""
    status: int = 0
    """Of HTTP; 0 for another protocol."""
    answer: bytes = b""

    def recorded(self, number: int) -> tuple[Message, Message]:
        """As a call of a tool named like the service, and its result."""
        arguments = {"method": self.method, "path": self.path + (f"?{self.query}" if self.query else "")}
        if self.body:
            arguments["body"] = _text(self.body)
        call: dict[str, Any] = {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": self.service, "arguments": arguments},
        }
        said = "\n".join(filter(None, [str(self.status or ""), _text(self.answer)]))
        return {"role": "assistant", "content": "", "tool_calls": [call]}, tool_result(call, said)


@dataclass(frozen=True, slots=True)
class Shown:
    """A forecast that a client was given."""

    latitude: float
    longitude: float
    first: date
    last: date
    variables: Sequence[str]


def forecasts(exchange: Exchange) -> Iterator[Shown]:
    """The forecasts that a weather service showed, from its answer's own words; none where it showed none."""
    if exchange.path.rstrip("/") != "/v1/forecast" or exchange.status != 200:
        return
    try:
        told = json.loads(exchange.answer)
    except ValueError:
        return
    for place in told if isinstance(told, list) else [told]:
        for times in ("hourly", "daily"):
            table = place.get(times) or {}
            if moments := table.get("time"):
                first, last = (_day(moments[end], place["utc_offset_seconds"]) for end in (0, -1))
                variables = [name for name in table if name != "time"]
                yield Shown(place["latitude"], place["longitude"], first, last, variables)


def page_opened(exchange: Exchange) -> str:
    """The id of the encyclopedia's page that was opened; empty if none was."""
    if exchange.method != "GET" or not exchange.path.startswith("/page/") or exchange.status != 200:
        return ""
    return str(json.loads(exchange.answer)["id"])


def _day(moment: str | int, offset_s: int) -> date:
    if isinstance(moment, str):
        return date.fromisoformat(moment[:10])
    return datetime.fromtimestamp(moment + offset_s, UTC).date()


def _text(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return text if len(text) <= MOST_RECORDED else f"{text[:MOST_RECORDED]}…"
