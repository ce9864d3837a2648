"""A replay token by token: a line for each sampled token and each update on it."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from torch import Tensor

from ludus.agents.episode import Turn
from ludus.agents.formats.base import ChatFormat
from ludus.agents.store import stream_episodes
from ludus.tools.files import replacing_file
from ludus.trainers.errors import RunError
from ludus.trainers.replay.recompute import Recomputed
from ludus.trainers.replay.replay import Replay

_LINES = 2**16
"""Lines that are in memory at once."""


def token_lines(found: Replay, format: ChatFormat | None) -> Iterator[pa.Table]:
    """The lines, episode by episode, some ten thousand at a time.

    | column | what it is |
    |---|---|
    | episode, group, sample | which one in the file, counted from 0; its group and its place in that |
    | turn, position | where in the episode and in the turn's completion, counted from 0 |
    | update | which update on the token, counted from 1 |
    | id, text | the token |
    | engine, trainer, reference | its log-probability where it was sampled, before the first update, and under the reference |
    | value, target | what a value model expected there, and what it should have said |
    | logprob, ratio | its log-probability before this update, and its probability over the trainer's |
    | advantage, weight, loss | as in the loss, and what it adds to that, but for an entropy bonus |
    | NAME/advantage, … | the same by another algorithm |

    Null where there is no such number, as in rows without a gradient.

    Args:
        format: Reads the ids; without it there is no text.
    """  # noqa: E501
    texts: dict[int, str] = {}

    def text(id: int) -> str:
        if format is not None and id not in texts:
            (texts[id],) = format.decode([id])
        return texts.get(id, "")

    schema = _schema(found, format is not None)
    batches: list[pa.RecordBatch] = []
    begin = 0
    for number, episode in enumerate(stream_episodes(found.step.file)):
        if not episode.is_scored:
            continue
        ends = [begin, *(begin + end for end in accumulate(len(t.completion_ids) for t in episode.turns))]
        begin = ends[-1]
        for index, turn in enumerate(episode.turns):
            place = {"episode": number, "group": episode.group, "sample": episode.sample, "turn": index}
            for update in range(len(found.own.passes)):
                columns = {
                    **{name: [value] * len(turn.completion_ids) for name, value in place.items()},
                    **_token_columns(found, turn, slice(ends[index], ends[index + 1]), update),
                    "text": list(map(text, turn.completion_ids)),
                }
                arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in schema]
                batches.append(pa.record_batch(arrays, schema=schema))
        if sum(map(len, batches)) >= _LINES:
            yield pa.Table.from_batches(batches, schema)
            batches = []
    yield pa.Table.from_batches(batches, schema)


def _token_columns(found: Replay, turn: Turn, here: slice, update: int) -> dict[str, Any]:
    named = found.stored.named
    trainer = _numbers(named.get("logprob"), here)
    logprob = _numbers(found.own.passes[update].logprobs_F, here)
    columns: dict[str, Any] = {
        "position": range(len(turn.completion_ids)),
        "update": [update + 1] * len(turn.completion_ids),
        "id": turn.completion_ids,
        "engine": turn.logprobs,
        "trainer": trainer,
        "reference": _numbers(named.get("reference"), here),
        "value": _numbers(named.get("value"), here),
        "target": _numbers(found.own.targets_F, here),
        "logprob": logprob,
        "ratio": np.exp(logprob - trainer),
    }
    for prefix, algorithm in _algorithms(found):
        columns[f"{prefix}advantage"] = _numbers(algorithm.advantages_F, here)
        columns[f"{prefix}weight"] = _numbers(algorithm.weights_F, here)
        columns[f"{prefix}loss"] = _numbers(algorithm.passes[update].losses_F, here)
    return columns


def _numbers(values: Tensor | None, here: slice) -> Any:
    """Those of a turn; not-a-number, which becomes null, where there are none."""
    return np.full(here.stop - here.start, np.nan) if values is None else values[here].numpy()


def _algorithms(found: Replay) -> list[tuple[str, Recomputed]]:
    return [("", found.own), *((f"{name}/", other) for name, other in found.others.items())]


def _schema(found: Replay, with_text: bool) -> pa.Schema:
    counts = ["episode", "group", "sample", "turn", "position", "update", "id"]
    numbers = ["trainer", "reference", "value", "target", "logprob", "ratio"]
    by_algorithm = [
        f"{prefix}{name}" for prefix, _ in _algorithms(found) for name in ("advantage", "weight", "loss")
    ]
    return pa.schema(
        [
            *((name, pa.int64()) for name in counts),
            *([("text", pa.string())] if with_text else []),
            ("engine", pa.float64()),
            *((name, pa.float32()) for name in (*numbers, *by_algorithm)),
        ]
    )


def write_tokens(lines: Iterable[pa.Table], path: Path) -> None:
    """Writes a file: whole, or not at all.

    Raises:
        RunError: its name does not end with a kind of file that can be written.
        OSError: it could not be written.
    """
    refuse_unknown(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as scratch, open(scratch, "wb") as file:
        _KINDS[path.suffix](lines, file)


def refuse_unknown(path: Path) -> None:
    """
    Raises:
        RunError: as `write_tokens`.
    """
    if path.suffix not in _KINDS:
        raise RunError(f"{path}: tokens are written to a file that ends with {', '.join(_KINDS)}; name one")


def _write_parquet(lines: Iterable[pa.Table], file: IO[bytes]) -> None:
    first, rest = _first(lines)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        for table in rest:
            writer.write_table(table)


def _write_csv(lines: Iterable[pa.Table], file: IO[bytes]) -> None:
    first, rest = _first(lines)
    with csv.CSVWriter(file, first.schema) as writer:
        for table in rest:
            writer.write_table(table)


def _write_json_lines(lines: Iterable[pa.Table], file: IO[bytes]) -> None:
    for table in lines:
        file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in table.to_pylist())


def _first(lines: Iterable[pa.Table]) -> tuple[pa.Table, Iterable[pa.Table]]:
    """The first one, and all of them."""
    iterator = iter(lines)
    first = next(iterator)
    return first, chain([first], iterator)


_KINDS: dict[str, Callable[[Iterable[pa.Table], IO[bytes]], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
}
