"""Several runs: comparisons that say when they cannot tell, boards, shards and their merging."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.bench.board import board
from ludus.agents.bench.compare import compare
from ludus.agents.bench.directory import BenchError, Folder
from ludus.agents.bench.journal import encode
from ludus.agents.bench.merge import merge
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.prices import Price, PriceError, price_of, read_prices
from ludus.agents.bench.run import Plan, bench, read_outcome
from ludus.agents.bench.tasks import Shard, ShardError
from ludus.agents.episode import StopReason
from ludus.report.bench.page import write_bench_report
from tests.agents.bench.test_run import timeless

SUITE = "ludus/Arithmetic-v0,ludus/ArithmeticChallenge-v0"
TASKS = 20


def plan(model: str = "scripted:random", **changes: Any) -> Plan:
    return replace(Plan("ludus/Arithmetic-v0", PlayerChoice(model), count=TASKS), **changes)


def made(folder: Path, successes: Sequence[bool | None], name: str = "") -> Folder:
    """A run on the same tasks with these successes; None is a fault."""
    opened = bench(plan("scripted:null"), folder).folder
    episodes = []
    for episode, success in zip(opened.episodes(), successes, strict=True):
        stop = StopReason.ENGINE_FAULT if success is None else StopReason.TERMINATED
        episodes.append(replace(episode, success=bool(success), stop=stop))
    opened.journal.write_bytes(b"".join(map(encode, episodes)))
    return replace(opened, settings=replace(opened.settings, model=name or folder.name))


def test_a_winner_is_called_where_all_is_scored(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a", [False] * TASKS), made(tmp_path / "b", [True] * 15 + [False] * 5)
    (difference,) = compare(a, b).differences
    assert (difference.winner, difference.b_scored, difference.p < 0.01) == ("B", TASKS, True)
    assert compare(b, a).differences[0].winner == "A"


def test_no_winner_is_called_where_what_is_not_scored_could_turn_it(tmp_path: Path) -> None:
    a = made(tmp_path / "a", [False] * 12 + [None] * 8)
    b = made(tmp_path / "b", [True] * 8 + [False] * 12)
    comparison = compare(a, b)
    (difference,) = comparison.differences
    assert difference.success.low > 0, "by the scored tasks alone, B would have won"
    assert difference.winner == "undecided"
    assert (difference.a_bounds.low, difference.a_bounds.high) == (0, 0.4)
    assert any("8 of 20 episodes (40.0%) ended in a fault" in note for note in comparison.notes)
    assert (difference.tasks, difference.a_scored, difference.a_episodes) == (12, 12, 20)


def test_two_runs_that_agree_differ_by_exactly_nothing(tmp_path: Path) -> None:
    wins = [bool(task % 3) for task in range(TASKS)]
    (difference,) = compare(made(tmp_path / "a", wins), made(tmp_path / "b", wins)).differences
    assert (difference.success.low, difference.success.high, difference.p) == (0.0, 0.0, 1.0)
    assert difference.winner == ""


def test_three_tasks_make_no_winner(tmp_path: Path) -> None:
    few = [True] * 3 + [False] * 17
    (difference,) = compare(made(tmp_path / "a", [False] * TASKS), made(tmp_path / "b", few)).differences
    assert difference.winner == ""


def test_a_board_ranks_runs_and_corrects_for_their_number(tmp_path: Path) -> None:
    folders = [
        made(tmp_path / "bad", [False] * TASKS),
        made(tmp_path / "good", [True] * 18 + [False] * 2),
        made(tmp_path / "close", [True] * 17 + [False] * 3),
        made(tmp_path / "broken", [True] * 2 + [False] * 4 + [None] * 14),
    ]
    found = board(folders)
    assert [entry.name for entry in found.entries] == ["good", "close", "broken", "bad"]
    best = found.entries[0]
    standings = {entry.name: entry.standing(best) for entry in found.entries}
    assert standings["good"] == "best"
    assert standings["close"] == "not significant"
    assert standings["bad"] == "behind"
    assert standings["broken"] in ("undecided", "not significant")
    by_name = {entry.name: entry for entry in found.entries}
    assert by_name["bad"].p is not None
    assert by_name["bad"].p <= 0.05
    assert by_name["broken"].faults == 14
    assert (by_name["broken"].bounds.low, by_name["broken"].bounds.high) == (0.1, 0.8)
    assert found.hash == folders[0].tasks.digest
    (note,) = found.notes
    assert "broken: 14 of 20 episodes (70.0%) ended in a fault" in note
    assert found.to_dict()["entries"][0]["standing"] == "best"


def test_a_board_says_that_task_lists_differ_and_counts_the_common_tasks(tmp_path: Path) -> None:
    long = bench(plan("scripted:oracle"), tmp_path / "long").folder
    short = bench(plan("scripted:random", count=8), tmp_path / "short").folder
    found = board([long, short])
    assert "THE TASK LISTS DIFFER" in found.notes[0]
    assert (found.tasks, found.hash) == (8, "")
    with pytest.raises(BenchError, match="at least two"):
        board([long])


def test_a_board_counts_faults_on_the_tasks_that_it_ranks_by(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    faulty = made(a, [None, *[True] * (TASKS - 6), *[None] * 5])  # five of them on tasks that b lacks
    short = bench(plan("scripted:random", count=8), b).folder
    found = board([faulty, short])
    (entry,) = [entry for entry in found.entries if entry.folder is faulty]
    assert (entry.scored, entry.episodes, entry.faults) == (7, 8, 1)
    assert any(str(a) in note and "6 of 20 episodes" in note for note in found.notes)


def test_a_run_of_which_much_was_not_played_is_incomplete(tmp_path: Path) -> None:
    begun = plan(repeats=2)
    shards = [bench(replace(begun, shard=Shard(i, 2)), tmp_path / str(i)) for i in (1, 2)]
    journal = shards[1].folder.journal
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:5]))
    merged = merge(tmp_path / "merged", [shard.folder for shard in shards])
    assert merged.is_incomplete
    page = write_bench_report(merged).read_text(encoding="utf-8")
    assert "25 episodes of 13 tasks, each up to 2 times" in page
    assert merged.notes[0].startswith("INCOMPLETE: 15 of 40 episodes have not been played")
    whole = bench(begun, tmp_path / "whole").folder
    assert any(
        "15 of 40 episodes have not been played" in note for note in board([merged.folder, whole]).notes
    )
    assert any("15 of 40" in note for note in compare(merged.folder, whole).notes)


def test_merged_shards_equal_the_run_that_one_machine_played(tmp_path: Path) -> None:
    begun = plan(suite=SUITE, count=7, repeats=3)
    whole = bench(begun, tmp_path / "whole")
    shards = [bench(replace(begun, shard=Shard(i, 4)), tmp_path / str(i)) for i in (1, 2, 3, 4)]
    assert sum(len(shard.results) for shard in shards) == 42
    assert not {(r.task, r.sample) for r in shards[0].results} & {
        (r.task, r.sample) for r in shards[1].results
    }
    assert all(not any("not been played" in note for note in shard.notes) for shard in shards)
    merged = merge(tmp_path / "merged", [shards[i].folder for i in (2, 0, 3, 1)])
    assert timeless(merged.to_dict()) == timeless(whole.to_dict())
    assert timeless(read_outcome(tmp_path / "merged").to_dict()) == timeless(whole.to_dict())
    lines = [(tmp_path / name / "results.jsonl").read_text().splitlines() for name in ("merged", "whole")]
    assert len(lines[0]) == len(lines[1]) == 42
    again = bench(begun, tmp_path / "merged")
    assert timeless(again.to_dict()) == timeless(whole.to_dict()), "the run's own command has nothing to do"


def test_what_is_no_set_of_shards_is_refused_by_name(tmp_path: Path) -> None:
    begun = plan("scripted:null", count=4)
    first = bench(replace(begun, shard=Shard(1, 2)), tmp_path / "1").folder
    second = bench(replace(begun, shard=Shard(2, 2)), tmp_path / "2").folder
    third = bench(replace(begun, shard=Shard(3, 3)), tmp_path / "3").folder
    other = bench(replace(begun, shard=Shard(2, 2), repeats=2), tmp_path / "other").folder
    whole = bench(begun, tmp_path / "whole").folder
    out = tmp_path / "out"
    for shards, named in (
        ([first], "shard 2/2 is missing"),
        ([first, first], "both shard 1/2"),
        ([first, third], "shard is 3, not 2"),
        ([first, other], "repeats is 2, not 1"),
        ([first, whole], "whole run, not a shard"),
    ):
        with pytest.raises(BenchError, match=named):
            merge(out, shards)
        assert not out.exists()
    with pytest.raises(BenchError, match="not empty"):
        merge(tmp_path / "whole", [first, second])


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2", "1/4/2"])
def test_a_shard_is_the_ith_of_n(text: str) -> None:
    with pytest.raises(ShardError, match="1/4"):
        Shard.read(text)


def test_shards_share_the_tasks_without_rest() -> None:
    shards = [Shard.read(f"{i}/3") for i in (1, 2, 3)]
    assert all(sum(task in shard for shard in shards) == 1 for task in range(100))


# --- prices


def test_prices_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '["tiny"]\ninput = 1\noutput = 10.0\n["other/model"]\ninput = 1\ncached = 0.1\noutput = 2\n'
    )
    prices = read_prices(path)
    assert prices["tiny"] == Price(input=1.0, output=10.0, cached=1.0)
    assert price_of(prices, "http://127.0.0.1:1/v1#tiny") == prices["tiny"]
    assert price_of(prices, "other/model").cached == 0.1
    with pytest.raises(PriceError, match="did you mean tiny"):
        price_of(prices, "tinny")


@pytest.mark.parametrize(
    "text",
    ["[[", '["a"]\ninput = 1', '["a"]\ninput = "1"\noutput = 1', "a = 1", '["a"]\ninput = -1\noutput = 1',
     '["a"]\ninput = nan\noutput = 1', '["a"]\ninput = 1\noutput = 1\nwrong = 1'],
)  # fmt: skip
def test_a_bad_table_of_prices_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(PriceError, match=r"prices\.toml") as error:
        read_prices(path)
    assert "\n" not in str(error.value)
