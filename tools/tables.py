"""Files of rows: JSON Lines, Parquet, and folders that `datasets` saved. Each is read once, front to back,
and never held in memory whole."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ludus.tools.errors import DataError
from ludus.tools.wording import first_line

ROWS_AT_ONCE = 256
"""Rows of a Parquet file that are in memory at the same time."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and where it is."""

    place: str
    """For a person: the file, and the line or row in it, counted from 1."""
    values: dict[str, Any]


def is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` of a `datasets.Dataset` or `DatasetDict` wrote the folder."""
    return (folder / _SPLITS).is_file() or (folder / _STATE).is_file()


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a file, or of a folder that `datasets` saved.

    Args:
        columns: Those to read, as far as they are there. None: all.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder to take data from; check its name")
    if path.is_dir():
        if is_saved_dataset(path):
            return dataset_rows(path, columns)
        raise DataError(
            f"{path} is a folder, but not one of a dataset's save_to_disk; name the files in it one by one"
        )
    return parquet_rows(path, columns) if is_parquet(path) else json_lines(path, columns)


def json_lines(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Empty lines are passed over.

    Args:
        columns: Those that are wanted; a line may have others. None: any.

    Raises:
        DataError: a line is no JSON object.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                values = json.loads(line.rstrip(b"\r\n"))
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{place}: not UTF-8 ({error.reason}); write the file as plain UTF-8 text, not compressed"
                ) from None
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{place}: not JSON ({error.msg}, column {error.colno}); a line is one JSON object"
                ) from None
            except (ValueError, RecursionError) as error:
                raise DataError(f"{place}: cannot be read as JSON ({str(error)[:100]})") from None
            if not isinstance(values, dict):
                keys = f", with the keys {', '.join(columns)}" if columns else ""
                raise DataError(
                    f"{place}: a JSON {_kind(values)}, not an object; write one object a line{keys}"
                )
            yield Row(place, values)


def parquet_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """
    Args:
        columns: Those to read, as far as the file has them; others stay on disk. None: all.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if columns is None or name in columns]
            if not wanted:
                yield Row(f"{path}, row 1", dict.fromkeys(file.schema_arrow.names))
            first = 1
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted):
                yield from _batch_rows(path, batch, first)
                first += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def dataset_rows(folder: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a saved `Dataset`, or of the split `train` of a saved `DatasetDict`.

    Args:
        folder: That `save_to_disk` wrote.
        columns: As in `parquet_rows`.

    Raises:
        DataError: there is no such split, or a file is missing or damaged.
    """
    if (folder / _SPLITS).is_file():
        splits = _listed(folder / _SPLITS, "splits")
        if "train" not in splits:
            raise DataError(
                f"{folder} has no split train, only {', '.join(splits)}: name the folder of one of them, "
                f"such as {folder / splits[0] if splits else folder}"
            )
        folder /= "train"
    first = 1
    for entry in _listed(folder / _STATE, "_data_files"):
        path = folder / str(entry["filename"])
        try:
            with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as stream:
                wanted = [name for name in stream.schema.names if columns is None or name in columns]
                if not wanted:
                    yield Row(f"{folder}, row {first}", dict.fromkeys(stream.schema.names))
                for batch in stream:
                    for start in range(0, len(batch), ROWS_AT_ONCE):
                        piece = batch.select(wanted).slice(start, ROWS_AT_ONCE)
                        yield from _batch_rows(folder, piece, first)
                        first += len(piece)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from None


_SPLITS, _STATE = "dataset_dict.json", "state.json"


def _listed(file: Path, key: str) -> list[Any]:
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is missing or damaged ({type(error).__name__}: {error}), so its folder cannot be read "
            "as a saved dataset; save it again with save_to_disk"
        ) from None


def _batch_rows(source: Path, batch: pa.RecordBatch, first: int) -> Iterator[Row]:
    """
    Raises:
        DataError: Python has no such value: a text that is not UTF-8, a date past its calendar.
    """
    for index in range(len(batch)):
        place = f"{source}, row {first + index}"
        try:
            (values,) = batch.slice(index, 1).to_pylist(maps_as_pydicts="lossy")
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"{place}: cannot be read ({error}); mend the row, or write the file anew"
            ) from None
        yield Row(place, {key: _without_nulls(value) for key, value in values.items()})


def _without_nulls(value: Any) -> Any:
    """A struct of Arrow has every field of its type: those that its row did not give are null."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _damaged(path: Path, error: Exception) -> DataError:
    reason = first_line(error)[:200]
    return DataError(f"{path} cannot be read ({reason}): it is damaged or cut short, write it anew")


def _kind(value: Any) -> str:
    names = {list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")
