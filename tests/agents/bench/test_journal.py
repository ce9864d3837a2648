"""The journal: lossless, one writer, and a damaged line costs only itself."""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.bench.journal import decode, encode, read_journal
from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.journal import Journal
from ludus.tools.errors import UserError

texts = st.text(st.characters(), max_size=20)
numbers = st.floats(allow_nan=False)
messages = st.fixed_dictionaries({"role": st.just("user"), "content": texts})
turns = st.builds(
    Turn,
    observation=st.lists(messages, max_size=2),
    reply=messages,
    reward=numbers,
    reward_terms=st.dictionaries(texts, numbers, max_size=2),
    prompt_ids=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    completion_ids=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    logprobs=st.lists(numbers, max_size=3).map(tuple),
)
episodes = st.builds(
    Episode,
    environment=texts,
    arguments=st.dictionaries(texts, st.integers() | texts, max_size=2),
    seed=st.integers(0, 2**40),
    task=texts,
    turns=st.lists(turns, max_size=2).map(tuple),
    stop=st.sampled_from(StopReason),
    group=st.integers(0, 99),
    fault=texts,
)


def episode(group: int) -> Episode:
    turn = Turn([{"role": "user", "content": "?\n\u2028"}], {"role": "assistant", "content": "!"}, 1.0, {})
    return Episode("x", {}, group, "t", (turn,), StopReason.TERMINATED, group=group)


@given(episodes)
def test_a_line_gives_back_the_episode(one: Episode) -> None:
    line = encode(one)
    assert line.count(b"\n") == 1
    assert decode(line) == one


def test_rewards_that_json_has_no_word_for_survive() -> None:
    turn = Turn([], {"role": "assistant", "content": "\ud800"}, math.inf, {"a": -math.inf})
    one = Episode("x", {}, 0, "t", (turn,), StopReason.TERMINATED)
    assert decode(encode(one)) == one


def write(path: Path, count: int) -> bytes:
    with Journal(path) as journal:
        for group in range(count):
            journal.append(encode(episode(group)))
    return path.read_bytes()


@settings(max_examples=40)
@given(data=st.data())
def test_a_torn_tail_is_cut_and_told_and_costs_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    content = write(path, 3)
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    with Journal(path) as journal:
        told = journal.mend()
        assert bool(told) == (not content[:cut].endswith(b"\n") and cut > 0)
        if told:
            assert f"{whole} episodes are whole and kept" in told
        journal.append(encode(episode(9)))
    assert [result.group for result in read_journal(path)] == [*range(whole), 9]


@settings(max_examples=60)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_damaged_byte_costs_at_most_the_two_lines_it_touches(
    place: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    content = bytearray(write(path, 5))
    place %= len(content)
    changed = content[place] != byte
    content[place] = byte
    path.write_bytes(content)
    with Journal(path) as journal:
        assert bool(journal.mend()) == changed
        journal.append(encode(episode(9)))
    left = [result.group for result in read_journal(path)]
    assert left[-1] == 9
    assert set(left) <= {*range(5), 9}
    assert len(left) >= 4


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(UserError, match="played by another process"):
        Journal(tmp_path / "journal.jsonl")
    Journal(tmp_path / "journal.jsonl").__exit__()


def test_a_line_that_cannot_be_written_whole_is_taken_back(
    tmp_path: Path, files_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "journal.jsonl"
    content = write(path, 2)
    with Journal(path) as journal:
        with pytest.raises(OSError, match="File too large") as refused, files_at_most(len(content) + 50):
            journal.append(encode(episode(2)))
        assert refused.value.filename == str(path)
        assert path.read_bytes() == content


def test_lines_are_json_for_whoever_reads_without_us(tmp_path: Path) -> None:
    line = write(tmp_path / "journal.jsonl", 1)
    assert json.loads(line[9:])["environment"] == "x"
