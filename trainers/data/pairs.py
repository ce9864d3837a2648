"""Preference pairs: two ways on from the same messages, of which one is preferred; read and written as files.

| column | what it holds |
|---|---|
| `prompt` | the messages that both go on from: a list, or a text (one user message); optional |
| `chosen`, `rejected` | the messages of each way on, the assistant's replies and what was answered: a list,
or a text (one reply) |
| `tools` | tools in OpenAI's form: a list, or its JSON; optional |
| `margin` | how much better the chosen one is, in the units of what judged; optional |
| `source` | what judged; optional |

These are TRL's names. Where `chosen` and `rejected` begin with the prompt, or where there is no prompt and
they begin alike, that part is the prompt. Messages are those of `ludus.trainers.data.chat`. Other columns are
not read.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ludus.envs.chat import Message, assistant, user
from ludus.tools.errors import DataError
from ludus.tools.files import replacing_file
from ludus.tools.tables import Row, read_rows
from ludus.tools.wording import did_you_mean
from ludus.trainers.data.chat import read_dialogue
from ludus.trainers.data.dialogue import Dialogue

COLUMNS = ("prompt", "chosen", "rejected", "tools", "margin", "source")
SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Pair:
    """Messages as dicts in the OpenAI chat form."""

    prompt: Sequence[Any]
    """What both go on from, replies included: context, never learned. Empty if they share nothing."""
    chosen: Sequence[Any]
    rejected: Sequence[Any]
    tools: Sequence[Any] = ()
    margin: float | None = None
    """Above 0, in the units of what judged; None: not recorded."""
    source: str = ""
    """What judged, such as `success`."""
    place: str = field(default="", compare=False)
    """For a person: where it was read."""

    def dialogues(self) -> tuple[Dialogue, Dialogue]:
        """The chosen and the rejected conversation, in which the replies of the prompt are context only.

        Raises:
            DataError: one of them is no conversation, or they say the same; the line names the place.
        """
        chosen, rejected = self._dialogue("chosen", self.chosen), self._dialogue("rejected", self.rejected)
        if chosen.turns == rejected.turns:
            raise DataError(
                f"{self.place}: chosen and rejected say the same, so neither is better; leave the pair out"
            )
        return chosen, rejected

    def _dialogue(self, name: str, messages: Sequence[Any]) -> Dialogue:
        context = [
            {**message, "weight": 0} if _role(message) == "assistant" else message for message in self.prompt
        ]
        if not any(_role(message) == "assistant" for message in messages):
            raise DataError(f"{self.place}: {name} has no reply of the assistant, which is what is compared")
        place = f"{self.place}, prompt + {name}"
        return read_dialogue(Row(place, {"messages": [*context, *messages], "tools": [*self.tools]}))


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file (JSON Lines or Parquet) or of a folder that `datasets` saved, in its order.

    Raises:
        DataError: one of them is none, or there is none; one line that names the place.
    """
    row = None
    for row in read_rows(path, COLUMNS):
        pair = read_pair(row)
        pair.dialogues()
        yield pair
    if row is None:
        raise DataError(f"{path} is empty: there is no pair in it")


def read_pair(row: Row) -> Pair:
    """A row's columns, told apart; what they say is checked by `Pair.dialogues`.

    Raises:
        DataError: a column is missing or holds something else.
    """
    values, place = row.values, row.place
    prompt = values.get("prompt")
    prompt = (
        [user(prompt)] if isinstance(prompt, str) and prompt else _messages(place, "prompt", prompt or [])
    )
    chosen, rejected = (_side(row, name) for name in ("chosen", "rejected"))
    if prompt:
        chosen, rejected = (
            side[len(prompt) :] if side[: len(prompt)] == prompt else side for side in (chosen, rejected)
        )
    else:
        prompt, chosen, rejected = common_beginning(chosen, rejected)
    if not prompt:
        raise DataError(
            f"{place}: there is no prompt, and chosen and rejected do not begin alike; add a column prompt, "
            "the messages that both reply to"
        )
    tools, margin, source = (values.get(name) for name in ("tools", "margin", "source"))
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            raise DataError(f"{place}: tools is a text that is no JSON") from None
    if not isinstance(tools, list | None):
        raise DataError(f"{place}: tools is no list, but {str(tools)[:60]!r}")
    if not isinstance(source, str | None):
        raise DataError(f"{place}: source is no text, but {str(source)[:60]!r}")
    return Pair(prompt, chosen, rejected, tools or [], _margin(place, margin), source or "", place)


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Write a file of pairs, JSON Lines or Parquet by its suffix; how many they were.

    Raises:
        DataError: another suffix, or pictures in Parquet.
        OSError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: pairs are written as {' or '.join(SUFFIXES)}, by the file's suffix")
    count = 0
    with replacing_file(path) as scratch:
        if path.suffix == ".parquet":
            rows = [_arrow_values(pair) for pair in pairs]
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), scratch, compression="zstd")
            return len(rows)
        with scratch.open("w", encoding="utf-8") as file:
            for pair in pairs:
                file.write(json.dumps(_values(pair), ensure_ascii=False) + "\n")
                count += 1
    return count


_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
_MESSAGES = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("reasoning_content", pa.string()),
            ("weight", pa.int64()),
            ("tool_calls", pa.list_(_CALL)),
            ("tool_call_id", pa.string()),
            ("name", pa.string()),
        ]
    )
)
SCHEMA = pa.schema(
    [
        ("prompt", _MESSAGES),
        ("chosen", _MESSAGES),
        ("rejected", _MESSAGES),
        ("tools", pa.string()),
        ("margin", pa.float64()),
        ("source", pa.string()),
    ]
)
"""Of Parquet. A column of structs has one type, so that the arguments of calls and the tools are JSON
there."""


def _values(pair: Pair) -> dict[str, Any]:
    values = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "tools": pair.tools}
    return {
        **{name: [*messages] for name, messages in values.items()},
        "margin": pair.margin,
        "source": pair.source,
    }


def _arrow_values(pair: Pair) -> dict[str, Any]:
    sides = {name: getattr(pair, name) for name in ("prompt", "chosen", "rejected")}
    return {
        **{name: [_arrow_message(message, pair) for message in side] for name, side in sides.items()},
        "tools": json.dumps([*pair.tools]) if pair.tools else None,
        "margin": pair.margin,
        "source": pair.source,
    }


def _arrow_message(message: Mapping[str, Any], pair: Pair) -> dict[str, Any]:
    if not isinstance(message.get("content"), str | None):
        raise DataError(f"{pair.place}: has pictures, which Parquet keeps in no column here; write .jsonl")
    calls = [
        {
            "id": call.get("id"),
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": _as_json(call["function"].get("arguments", {})),
            },
        }
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls or None}


def _as_json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _side(row: Row, name: str) -> list[Any]:
    given = row.values.get(name)
    if given is None:
        others = [column for column in row.values if column not in ("chosen", "rejected")]
        hint = did_you_mean(name, others, otherwise=f"it has {', '.join(row.values) or 'nothing'}")
        raise DataError(f"{row.place}: there is no {name}; {hint}")
    return [assistant(given)] if isinstance(given, str) else _messages(row.place, name, given)


def _messages(place: str, name: str, given: Any) -> list[Message]:
    if not isinstance(given, list):
        raise DataError(f"{place}: {name} is neither a text nor a list of messages, but {str(given)[:60]!r}")
    return given


def common_beginning(chosen: list[Any], rejected: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """What both begin with, and the rest of each, which keeps a message at least."""
    count, longest = 0, min(len(chosen), len(rejected)) - 1
    while count < longest and chosen[count] == rejected[count]:
        count += 1
    return chosen[:count], chosen[count:], rejected[count:]


def _margin(place: str, given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= sys.float_info.max:
        raise DataError(f"{place}: margin is {str(given)[:60]!r}; it is a finite number, or left out")
    if given < 0:
        raise DataError(
            f"{place}: margin is {given:g}, so the rejected one is the better; swap the two, or leave margin "
            "out"
        )
    return float(given)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None
