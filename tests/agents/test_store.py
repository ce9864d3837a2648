import math
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.kept import KeptSets
from ludus.agents.store import (
    SCHEMA,
    EpisodeFileError,
    file_metadata,
    read_episodes,
    stream_episodes,
    write_episodes,
)
from ludus.envs.chat import assistant, image_part, text_part, user

VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8 = (
    Path(__file__).parent / "data" / f"episodes-{number}.parquet" for number in range(3, 9)
)
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
    finish=st.sampled_from(["stop", "length", "malformed", ""]),
    fork=st.booleans(),
    generate_seconds=floats,
    step_seconds=floats,
    prompt_tokens=st.integers(0, 2**40),
    completion_tokens=st.integers(0, 2**40),
    actor=texts,
    reasoning_tokens=st.integers(0, 2**40),
    cached_tokens=st.integers(0, 2**40),
    cost=floats,
    vendor=st.dictionaries(names, json_values, max_size=3),
    anchor=texts,
    training=st.dictionaries(texts, st.lists(floats, max_size=4).map(tuple), max_size=2),
    kept=st.none() | st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=4), max_size=6).map(KeptSets.of),
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
    expected=texts,
    failure=texts,
    task_kind=texts,
)


@given(st.lists(episodes, max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, null]}'}}
    reply: Any = {"role": "assistant", "content": "", "tool_calls": [call]}
    result: Any = {
        "role": "tool",
        "content": [text_part("seen"), image_part(b"\x89PNG")],
        "tool_call_id": "call_0",
    }
    first = Turn(
        [user("2+2")],
        assistant("3"),
        -0.5,
        {"exact": 0.0, "format": 1.0},
        (1, 2),
        (3, 4),
        (-0.25, -1e-300),
        "stop",
        generate_seconds=0.5,
        step_seconds=0.125,
        prompt_tokens=2,
        completion_tokens=2,
    )
    second = Turn(
        [user("no")],
        reply,
        1.0,
        {"exact": 1.0},
        (5, 6, 7),
        (8,),
        (-2.0,),
        "length",
        fork=True,
        generate_seconds=0.25,
        step_seconds=0.5,
        prompt_tokens=9,
        completion_tokens=1,
    )
    spec = ("ludus/Arithmetic-v0", {"digits": 2, "ops": ["+"]}, 7, "t:7", (first, second))
    episodes = [
        Episode(*spec, StopReason.TERMINATED, True, 3, 1, 4, "", [result]),
        Episode("ludus/Arithmetic-v0", {}, -8, "", (), StopReason.ENVIRONMENT_FAULT, fault="the server died"),
    ]
    assert read_episodes(VERSION_3) == episodes
    assert read_episodes(write_episodes(tmp_path / "new.parquet", episodes)) == episodes


def test_a_file_of_version_4_is_read() -> None:
    turn = Turn(
        [user("2+2")],
        assistant("4"),
        1.0,
        {"exact": 1.0},
        (1, 2),
        (3, 4),
        (-0.25, -1e-300),
        "stop",
        prompt_tokens=2,
        completion_tokens=2,
        actor="white",
    )
    spec = ("ludus/Arithmetic-v0", {"digits": 2}, 7, "t:7", (turn,))
    played = Episode(*spec, StopReason.TERMINATED, True, task_name="2+2", form_terms=("format",))
    assert read_episodes(VERSION_4) == [played]


def test_a_file_of_version_5_is_read() -> None:
    turn = Turn(
        [user("2+2")],
        assistant("4"),
        1.0,
        {"exact": 1.0},
        (1, 2),
        (3, 4),
        (-0.25, -1e-300),
        "stop",
        prompt_tokens=2,
        completion_tokens=2,
        reasoning_tokens=1,
        cached_tokens=1,
        cost=0.5,
        vendor={"reasoning": "even"},
    )
    told = {"expected": "4", "failure": "answered 5", "task_kind": "sum"}
    spec = ("ludus/Arithmetic-v0", {"digits": 2}, 7, "t:7", (turn,))
    played = Episode(*spec, StopReason.TERMINATED, task_name="2+2", form_terms=("format",), **told)
    assert read_episodes(VERSION_5) == [played]


def test_a_file_of_version_6_is_read() -> None:
    turn = Turn(
        [user("2+2")],
        assistant("4"),
        1.0,
        {"exact": 1.0},
        (1, 2),
        (3, 4),
        (-0.25, -1e-300),
        "stop",
        prompt_tokens=2,
        completion_tokens=2,
        anchor="s:2+2",
    )
    spec = ("ludus/Arithmetic-v0", {"digits": 2}, 7, "t:7", (turn,))
    played = Episode(*spec, StopReason.TERMINATED, task_name="2+2", form_terms=("format",))
    assert read_episodes(VERSION_6) == [played]


def test_a_file_of_version_7_is_read() -> None:
    turn = Turn(
        [user("2+2")],
        assistant("4"),
        1.0,
        {"exact": 1.0},
        (1, 2),
        (3, 4),
        (-0.25, -1e-300),
        "stop",
        prompt_tokens=2,
        completion_tokens=2,
        training={"logprob": (-0.25, -0.5), "advantage": (1.0, 1.0)},
    )
    spec = ("ludus/Arithmetic-v0", {"digits": 2}, 7, "t:7", (turn,))
    played = Episode(*spec, StopReason.TERMINATED, True, task_name="2+2", form_terms=("format",))
    assert read_episodes(VERSION_7) == [played]


def test_a_file_of_version_8_is_read() -> None:
    turn = Turn(
        [user("2+2")],
        assistant("4"),
        1.0,
        {"exact": 1.0},
        (1, 2),
        (3, 4),
        (-0.25, -1e-300),
        "stop",
        prompt_tokens=2,
        completion_tokens=2,
    )
    spec = ("ludus/Arithmetic-v0", {"digits": 2}, 7, "t:7", (turn,))
    played = Episode(*spec, StopReason.TERMINATED, True, task_name="2+2", form_terms=("format",))
    assert read_episodes(VERSION_8) == [played]


def test_a_file_of_a_later_version_is_named(tmp_path: Path) -> None:
    later = SCHEMA.with_metadata({"ludus.episodes": "99"})
    pq.write_table(pa.Table.from_pylist([], schema=later), tmp_path / "later.parquet")
    named = r"later\.parquet is an episode file of version 99, and this version of Ludus reads 3 to 9:"
    with pytest.raises(EpisodeFileError, match=named):
        read_episodes(tmp_path / "later.parquet")


def test_a_file_says_what_its_writer_adds(tmp_path: Path) -> None:
    path = write_episodes(tmp_path / "e.parquet", [], {"ludus.step": "7"})
    assert file_metadata(path) == {"ludus.step": "7", "ludus.episodes": "9"}
    assert read_episodes(path) == []


def test_episodes_are_read_one_after_the_other(tmp_path: Path) -> None:
    """Damage further on is met when it is reached."""
    written = [episode(replace(TURN, observation=[user(said)])) for said in map(str, range(200))]
    path = write_episodes(tmp_path / "e.parquet", written)
    assert list(stream_episodes(path)) == written
    place = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset - 1
    data = path.read_bytes()
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    stream = stream_episodes(path)
    assert next(stream) == written[0]
    with pytest.raises(EpisodeFileError, match=r"e\.parquet is damaged"):
        list(stream)


def test_each_actor_has_its_own_return_and_rows() -> None:
    turns = [
        Turn([], assistant(""), reward, {}, (prompt,), (prompt + 1,), (-0.5,), fork=fork, actor=actor)
        for reward, prompt, fork, actor in (
            (1.0, 10, False, "black"),
            (-1.0, 20, False, "white"),
            (2.0, 30, False, "black"),
            (0.5, 40, True, "black"),
            (0.0, 50, False, "white"),
        )
    ]
    played = Episode("e", {}, 1, "t", tuple(turns), StopReason.TERMINATED)
    assert played.returns == {"black": 3.5, "white": -1.0}
    assert played.episode_return == 2.5
    assert [(row.actor, row.ids) for row in played.training_sequences()] == [
        ("black", (10, 11, 30, 31)),
        ("white", (20, 21, 50, 51)),
        ("black", (40, 41)),
    ]


def test_a_row_has_the_kept_sets_of_its_turns(tmp_path: Path) -> None:
    def turn(prompt: int, *kept: list[int], fork: bool = False) -> Turn:
        said = tuple(among[0] for among in kept)
        sets = KeptSets.of(kept) if kept else None
        return Turn([], assistant(""), 0.0, {}, (prompt,), said, (-0.5,) * len(said), fork=fork, kept=sets)

    turns = (turn(10, [3, 5], [4]), turn(20), turn(30, [1, 2, 3]), turn(40, [7, 9], fork=True))
    (read,) = read_episodes(
        write_episodes(tmp_path / "e.parquet", [Episode("e", {}, 1, "t", turns, StopReason.TERMINATED)])
    )
    assert [[among.tolist() for among in row.kept] for row in read.training_sequences() if row.kept] == [
        [[3, 5], [4], [1, 2, 3]],
        [[7, 9]],
    ]
    (stored,) = pq.read_table(tmp_path / "e.parquet").to_pylist()
    assert [turn["kept"] for turn in stored["turns"]][:2] == [[[3, 5], [4]], None]


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


@pytest.mark.parametrize("source", ["small", "large"])
def test_whatever_is_damaged_is_one_line_or_the_same_episodes(tmp_path: Path, source: str) -> None:
    """Bytes flipped and files cut everywhere, most densely in the footer, which no Parquet checksum
    covers."""
    path = VERSION_3 if source == "small" else write_episodes(tmp_path / "e.parquet", [episode()] * 30)
    whole, data, damaged = read_episodes(path), path.read_bytes(), tmp_path / "damaged.parquet"
    footer = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    places = {*range(0, footer, 311), *range(footer, len(data), 61), *range(len(data) - 8, len(data))}
    refusals = set()
    for at in sorted(places):
        flipped = [data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :] for mask in (0x01, 0xEB)]
        for content in (data[:at], *flipped):
            damaged.write_bytes(content)
            try:
                assert read_episodes(damaged) == whole, at
            except EpisodeFileError as error:
                refusals.add(str(error))
    assert refusals
    assert all("\n" not in refusal and len(refusal) < 200 + len(str(damaged)) + 100 for refusal in refusals)


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

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
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
