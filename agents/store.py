"""Episode files: Parquet, one row per episode, readable by anything that reads Parquet.

| column | type |
|---|---|
| environment, task, task_name, task_kind, stop, fault, expected, failure | string |
| arguments | string: JSON, the keyword arguments of `gym.make` |
| seed, group, sample, weights_version | int64 |
| success | bool |
| turns | list of {observation: list of messages, reply: message, reward: double, reward_terms: map string → double, prompt_ids: list of int64, completion_ids: list of int32, logprobs: list of double, finish: string, fork: bool, generate_seconds: double, step_seconds: double, prompt_tokens: int64, completion_tokens: int64, actor: string, reasoning_tokens: int64, cached_tokens: int64, cost: double, vendor: string, anchor: string, training: map string → list of double, kept: list of list of int32} |
| final_observation | list of messages |
| form_terms | list of string |

A message is {role, content, parts, tool_calls, tool_call_id}, null where it has no such key; `tool_calls` is JSON,
since its arguments have no fixed form. A message's content is in `content` if it is text, or in `parts`, a
list of {text, image}, if it has images; one of the two is null in each part, and an image is a data URL.
`vendor` is JSON, or null where the server gave nothing beyond OpenAI's form. `kept` is null where tokens were
drawn among all ids. A picture's tokens in `prompt_ids` are those of `ludus.agents.picture_ids`. The file's
metadata says `ludus.episodes = 9`, and what its writer adds. Files of versions 3 to 8, which lack the columns
of `_ADDED` and have `prompt_ids` in int32, are read as well."""  # noqa: E501

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.kept import KeptSets
from ludus.envs.chat import Message, Part, part_image, part_text, text_part
from ludus.tools.errors import UserError
from ludus.tools.files import replacing_file
from ludus.tools.wording import first_line

_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("parts", pa.list_(pa.struct([("text", pa.string()), ("image", pa.string())]))),
        ("tool_calls", pa.string()),
        ("tool_call_id", pa.string()),
    ]
)
_TURN = pa.struct(
    [
        ("observation", pa.list_(_MESSAGE)),
        ("reply", _MESSAGE),
        ("reward", pa.float64()),
        ("reward_terms", pa.map_(pa.string(), pa.float64())),
        ("prompt_ids", pa.list_(pa.int64())),
        ("completion_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float64())),
        ("finish", pa.string()),
        ("fork", pa.bool_()),
        ("generate_seconds", pa.float64()),
        ("step_seconds", pa.float64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("actor", pa.string()),
        ("reasoning_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("cost", pa.float64()),
        ("vendor", pa.string()),
        ("anchor", pa.string()),
        ("training", pa.map_(pa.string(), pa.list_(pa.float64()))),
        ("kept", pa.list_(pa.list_(pa.int32()))),
    ]
)
VERSION = "ludus.episodes"
SCHEMA = pa.schema(
    [
        ("environment", pa.string()),
        ("arguments", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("turns", pa.list_(_TURN)),
        ("stop", pa.string()),
        ("success", pa.bool_()),
        ("group", pa.int64()),
        ("sample", pa.int64()),
        ("weights_version", pa.int64()),
        ("fault", pa.string()),
        ("final_observation", pa.list_(_MESSAGE)),
        ("task_name", pa.string()),
        ("form_terms", pa.list_(pa.string())),
        ("expected", pa.string()),
        ("failure", pa.string()),
        ("task_kind", pa.string()),
    ],
    metadata={VERSION: "9"},
)
_ADDED = {
    4: {"task_name", "form_terms", "actor"},
    5: {"expected", "failure", "task_kind", "reasoning_tokens", "cached_tokens", "cost", "vendor"},
    6: {"anchor"},
    7: {"training"},
    8: {"kept"},
}
"""The columns, of episodes and of turns, that came with a version."""
_WIDE, _NARROW = 9, pa.list_(pa.int32())
"""Since when prompts have room for the ids of pictures, and what they were before."""


def _as_of(version: int) -> pa.Schema:
    """The schema of a version."""
    later = set().union(*(names for number, names in _ADDED.items() if number > version))
    turns = [field for field in _TURN if field.name not in later]
    if version < _WIDE:
        turns = [field.with_type(_NARROW) if field.name == "prompt_ids" else field for field in turns]
    turn = pa.struct(turns)
    fields = [field for field in SCHEMA if field.name not in later]
    return pa.schema(
        [field.with_type(pa.list_(turn)) if field.name == "turns" else field for field in fields]
    )


_SCHEMAS = {str(version): _as_of(version) for version in range(3, 10)}
_ROWS = 64
"""Episodes in a row group, which is what a reader has in memory at once."""


class EpisodeFileError(UserError, ValueError):
    """An episode file cannot be read: it is damaged, or not an episode file."""


def write_episodes(
    path: Path | str, episodes: Iterable[Episode], metadata: Mapping[str, str] | None = None
) -> Path:
    """Writes an episode file: whole, or not at all. No more than a row group of episodes is made into rows at
    once.

    Args:
        metadata: What the file says about itself beside its version.

    Raises:
        ValueError: a message has a key, or a part, that the file has no place for.
        OSError: the file could not be written; an existing file at `path` is untouched.
    """
    path = Path(path)
    schema = SCHEMA.with_metadata({**(metadata or {}), **_metadata(SCHEMA)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing_file(path) as scratch,
        open(scratch, "wb") as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        waiting = iter(episodes)
        while rows := [_row(episode) for episode in islice(waiting, _ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return path


def is_episode_file(path: Path | str) -> bool:
    """Whether a Parquet file is an episode file, of any version."""
    try:
        return VERSION in _metadata(pq.read_schema(path))
    except (pa.ArrowException, OSError):
        return False


def file_metadata(path: Path | str) -> dict[str, str]:
    """What an episode file says about itself, its version among it (`ludus.episodes`).

    Raises: as `read_episodes`.
    """
    with _opened(Path(path)) as file:
        return _metadata(file.schema_arrow)


def read_episodes(path: Path | str) -> list[Episode]:
    """Reads an episode file.

    Raises:
        FileNotFoundError: the file does not exist.
        EpisodeFileError: it is damaged, it is of a later version, or it is not an episode file.
    """
    return list(stream_episodes(path))


def stream_episodes(path: Path | str) -> Iterator[Episode]:
    """The episodes of a file, one after the other; no more than a row group of them is in memory.

    It raises what `read_episodes` does: when the first episode is asked for or, where the file is damaged
    further on, there.
    """
    with _opened(Path(path)) as file:
        read = 0
        for batch in file.iter_batches(_ROWS):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                yield _episode(row)
                read += 1
        if read != file.metadata.num_rows:
            raise OSError(f"it has {read} episodes, and should have {file.metadata.num_rows}")


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    if not path.is_file():
        raise FileNotFoundError(f"no episode file at {path}")
    try:
        with open(path, "rb") as bytes, pq.ParquetFile(bytes, page_checksum_verification=True) as file:
            if (problem := _unknown(file.schema_arrow)) is not None:
                raise EpisodeFileError(f"{path} is {problem}")
            yield file
    except EpisodeFileError:
        raise
    # Arrow lets Python's own errors through if names, texts or JSON are damaged.
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        reason = first_line(error)[:200]
        raise EpisodeFileError(f"{path} is damaged or no Parquet file ({reason}): write it anew") from error


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}


def _unknown(schema: pa.Schema) -> str | None:
    """What a file with this schema is, if not an episode file that can be read."""
    version = _metadata(schema).get(VERSION)
    if version is not None and version not in _SCHEMAS:
        first, *_, last = _SCHEMAS
        return (
            f"an episode file of version {version}, and this version of Ludus reads {first} to {last}: read "
            "it with the version that wrote it"
        )
    if version is None or not schema.equals(_SCHEMAS[version]):
        return "a Parquet file, but not an episode file of this version"
    return None


def _row(episode: Episode) -> dict[str, Any]:
    return {
        "environment": episode.environment,
        "arguments": json.dumps(episode.arguments),
        "seed": episode.seed,
        "task": episode.task,
        "turns": [_turn_row(turn) for turn in episode.turns],
        "stop": episode.stop.value,
        "success": episode.success,
        "group": episode.group,
        "sample": episode.sample,
        "weights_version": episode.weights_version,
        "fault": episode.fault,
        "final_observation": [_message_row(message) for message in episode.final_observation],
        "task_name": episode.task_name,
        "form_terms": list(episode.form_terms),
        "expected": episode.expected,
        "failure": episode.failure,
        "task_kind": episode.task_kind,
    }


def _turn_row(turn: Turn) -> dict[str, Any]:
    return {
        "observation": [_message_row(message) for message in turn.observation],
        "reply": _message_row(turn.reply),
        "reward": turn.reward,
        "reward_terms": turn.reward_terms,
        "prompt_ids": turn.prompt_ids,
        "completion_ids": turn.completion_ids,
        "logprobs": turn.logprobs,
        "finish": turn.finish,
        "fork": turn.fork,
        "generate_seconds": turn.generate_seconds,
        "step_seconds": turn.step_seconds,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "actor": turn.actor,
        "reasoning_tokens": turn.reasoning_tokens,
        "cached_tokens": turn.cached_tokens,
        "cost": turn.cost,
        "vendor": json.dumps(turn.vendor) if turn.vendor else None,
        "anchor": turn.anchor,
        "training": turn.training,
        "kept": None if turn.kept is None else list(turn.kept),
    }


def _message_row(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = dict(message)
    if strange := row.keys() - {"role", "content", "tool_calls", "tool_call_id"}:
        raise ValueError(
            f"a message has the key {sorted(strange)[0]!r}, for which episode files have no column"
        )
    if "tool_calls" in row:
        row["tool_calls"] = json.dumps(row["tool_calls"])
    if isinstance(row.get("content"), list):
        row["parts"] = [_part_row(part) for part in row.pop("content")]
    return row


def _part_row(part: Part) -> dict[str, str]:
    if (text := part_text(part)) is not None and part == text_part(text):
        return {"text": text}
    if (url := part_image(part)) is not None and part == {"type": "image_url", "image_url": {"url": url}}:
        return {"image": url}
    raise ValueError(f"an episode file has no place for the part {part!r:.200}: give texts and inline images")


def _episode(row: dict[str, Any]) -> Episode:
    return Episode(
        **{
            **row,
            "arguments": json.loads(row["arguments"]),
            "stop": StopReason(row["stop"]),
            "turns": tuple(_turn(turn) for turn in row["turns"]),
            "final_observation": [_message(message) for message in row["final_observation"]],
            "form_terms": tuple(row.get("form_terms", ())),
        }
    )


def _turn(row: dict[str, Any]) -> Turn:
    return Turn(
        **{
            **row,
            "observation": [_message(message) for message in row["observation"]],
            "reply": _message(row["reply"]),
            "prompt_ids": tuple(row["prompt_ids"]),
            "completion_ids": tuple(row["completion_ids"]),
            "logprobs": tuple(row["logprobs"]),
            "vendor": json.loads(row.get("vendor") or "{}"),
            "training": {name: tuple(values) for name, values in row.get("training", {}).items()},
            "kept": None if row.get("kept") is None else KeptSets.of(row["kept"]),
        }
    )


def _message(row: dict[str, Any]) -> Message:
    message = {key: value for key, value in row.items() if value is not None}
    if "tool_calls" in message:
        message["tool_calls"] = json.loads(message["tool_calls"])
    if "parts" in message:
        message["content"] = [_part(part) for part in message.pop("parts")]
    return message  # type: ignore[return-value]


def _part(row: dict[str, str | None]) -> Part:
    if row["text"] is not None:
        return text_part(row["text"])
    return {"type": "image_url", "image_url": {"url": row["image"]}}
