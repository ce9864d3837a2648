import math
import string
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.store import SCHEMA, EpisodeFileError, read_episodes, write_episodes
from ludus.envs.chat import assistant, image_part, text_part, user

texts = st.text(max_size=20)
names = st.text(string.ascii_lowercase, min_size=1, max_size=6)
floats = st.floats(allow_nan=False)
ids = st.lists(st.integers(0, 2**31 - 1), max_size=6).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "content": texts | st.lists(texts.map(text_part) | st.binary(min_size=1).map(image_part), max_size=3),
    },
    optional={
        "tool_calls": st.lists(st.dictionaries(names, json_values, max_size=3), max_size=2),
        "tool_call_id": texts,
    },
)
turns = st.builds(
    Turn,
    observation=st.lists(messages, max_size=3),
    reply=messages,
    reward=floats,
    reward_terms=st.dictionaries(texts, floats, max_size=3),
    prompt_ids=ids,
    completion_ids=ids,
    logprobs=st.lists(floats, max_size=6).map(tuple),
    finish=st.sampled_from(["stop", "length", ""]),
    fork=st.booleans(),
    generate_seconds=floats,
    step_seconds=floats,
    prompt_tokens=st.integers(0, 2**40),
    completion_tokens=st.integers(0, 2**40),
)
int64 = st.integers(-(2**63), 2**63 - 1)
episodes = st.builds(
    Episode,
    environment=texts,
    arguments=st.dictionaries(names, json_values, max_size=3),
    seed=int64,
    task=texts,
    turns=st.lists(turns, max_size=3).map(tuple),
    stop=st.sampled_from(StopReason),
    success=st.booleans(),
    group=int64,
    sample=int64,
    weights_version=int64,
    fault=texts,
    final_observation=st.lists(messages, max_size=2),
    task_name=texts,
    form_terms=st.lists(texts, max_size=2).map(tuple),
)


@given(st.lists(episodes, max_size=3))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path: Path, written: list[Episode]) -> None:
    path = write_episodes(tmp_path / "deep" / "episodes.parquet", written)
    read = read_episodes(path)
    assert read == written
    assert [episode.training_sequences() for episode in read] == [e.training_sequences() for e in written]
    assert all(isinstance(episode.stop, StopReason) for episode in read)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


TURN = Turn([user("2+2")], assistant("4"), 0.1, {"exact": 1.0}, (1, 2), (3, 4), (-0.1, -1e-300), "stop")


def episode(turn: Turn = TURN, **changes: Any) -> Episode:
    return Episode("e", {}, 1, "t", (turn,), StopReason.TERMINATED, **changes)


def test_others_can_read_it_without_us(tmp_path: Path) -> None:
    table = pq.read_table(write_episodes(tmp_path / "e.parquet", [episode()]))
    (row,) = table.to_pylist()
    (turn,) = row["turns"]
    assert turn["completion_ids"] == [3, 4]
    assert turn["logprobs"] == [-0.1, -1e-300]
    assert turn["reward_terms"] == [("exact", 1.0)]
    assert turn["observation"] == [
        {"role": "user", "content": "2+2", "parts": None, "tool_calls": None, "tool_call_id": None}
    ]


def test_a_file_of_version_3_is_read(tmp_path: Path) -> None:
    table = pq.read_table(write_episodes(tmp_path / "e.parquet", [episode()]))
    old = table.drop_columns(["task_name", "form_terms"]).replace_schema_metadata({"ludus.episodes": "3"})
    pq.write_table(old, tmp_path / "old.parquet", write_page_checksum=True)
    assert read_episodes(tmp_path / "old.parquet") == [episode()]


def test_not_a_number_survives(tmp_path: Path) -> None:
    turn = Turn([], assistant(""), math.nan, {"x": math.inf})
    (read,) = read_episodes(write_episodes(tmp_path / "e.parquet", [episode(turn)]))
    assert math.isnan(read.turns[0].reward)
    assert read.turns[0].reward_terms == {"x": math.inf}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = write_episodes(tmp_path / "e.parquet", [episode() for _ in range(50)])
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "flipped": data[:200] + bytes([data[200] ^ 1]) + data[201:],
            "empty": b"",
            "text": b"hello",
        }[damage]
    )
    with pytest.raises(EpisodeFileError, match=r"e\.parquet is damaged or no Parquet file"):
        read_episodes(path)


def test_a_parquet_file_of_something_else_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.Table.from_pylist([], schema=SCHEMA.remove_metadata()), tmp_path / "unmarked.parquet")
    for name in ("other", "unmarked"):
        with pytest.raises(EpisodeFileError, match=rf"{name}\.parquet is a Parquet file, but not an"):
            read_episodes(tmp_path / f"{name}.parquet")
    with pytest.raises(FileNotFoundError, match=r"no episode file at .*none"):
        read_episodes(tmp_path / "none.parquet")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_episodes(tmp_path / "e.parquet", [episode()])

    def full(table: Any, file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        write_episodes(path, [episode(), episode()])
    assert len(read_episodes(path)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["e.parquet"]


def test_a_message_with_an_unknown_key_is_refused_rather_than_cut(tmp_path: Path) -> None:
    strange: Any = {"role": "user", "content": "x", "audio": "…"}
    with pytest.raises(ValueError, match="'audio'"):
        write_episodes(tmp_path / "e.parquet", [episode(final_observation=[strange])])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/plot.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "text", "text": "x", "weight": 2},
        {"type": "audio"},
        "x",
    ],
    ids=str,
)
def test_a_part_without_a_place_is_refused_rather_than_cut(tmp_path: Path, part: Any) -> None:
    message: Any = {"role": "tool", "content": [text_part("fine"), part]}
    with pytest.raises(ValueError, match="has no place for the part"):
        write_episodes(tmp_path / "e.parquet", [episode(final_observation=[message])])
    assert list(tmp_path.iterdir()) == []
