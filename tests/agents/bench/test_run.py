"""Whole runs: figures, resuming, faults, folders of other runs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.bench import play, run, tasks
from ludus.agents.bench.baselines import cached, store
from ludus.agents.bench.compare import compare
from ludus.agents.bench.directory import BenchError, open_folder
from ludus.agents.bench.journal import encode, read_journal
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Plan, bench, read_outcome
from ludus.agents.store import read_episodes
from ludus.tools.errors import UserError

ARITHMETIC = "ludus/Arithmetic-v0"
TIMES = ("seconds", "model_seconds", "step_seconds", "turn_seconds")


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def plan(model: str, **changes: Any) -> Plan:
    return replace(Plan(ARITHMETIC, PlayerChoice(model, max_tokens=32), count=6, repeats=2), **changes)


def test_the_oracle_in_processes_and_its_baselines(folder: Path, heard: Any) -> None:
    listener = heard()
    suite = f"{ARITHMETIC},ludus/ArithmeticChallenge-v0"
    outcome = bench(plan("scripted:oracle", suite=suite, count=3, repeats=7), folder, listener)
    assert [row.tasks.id for row in outcome.rows] == suite.split(",")
    for row in outcome.rows:
        assert (row.figures.success.value, row.figures.episodes, row.figures.tasks) == (1, 21, 3)
        assert row.baselines["null"].success.value == 0
        assert row.baselines["oracle"].success.value == 1
        assert row.baselines["oracle"].episodes == 3
    assert outcome.notes == ()
    assert json.loads((folder / "results.json").read_text()) == outcome.to_dict()
    assert len((folder / "results.jsonl").read_text().splitlines()) == 42
    stored = read_episodes(folder / "episodes" / "Arithmetic-v0.parquet")
    assert [(e.group, e.sample) for e in stored] == [(t, s) for t in range(3) for s in range(7)]
    assert read_outcome(folder).to_dict() == outcome.to_dict()

    again = heard()
    bench(plan("scripted:oracle", suite=suite, count=3, repeats=1), folder.with_name("other"), again)
    assert again.who == ["scripted:oracle"], "the baselines are played once for these tasks"


def test_repeats_of_a_task_draw_differently_and_a_second_run_the_same(folder: Path) -> None:
    outcome = bench(plan("scripted:random", repeats=4), folder)
    answers = {(r.task, r.answer) for r in outcome.results}
    assert len(answers) > 6
    again = bench(plan("scripted:random", repeats=4), folder.with_name("again"))
    assert timeless([r.to_dict() for r in again.results]) == timeless([r.to_dict() for r in outcome.results])
    other = bench(
        plan("scripted:random", repeats=4, player=PlayerChoice("scripted:random", seed=1)), folder / "x"
    )
    assert [r.answer for r in other.results] != [r.answer for r in outcome.results]


def test_a_served_model_is_asked_concurrently_and_its_tokens_are_counted(server: Any, folder: Path) -> None:
    server.seconds = 0.1
    outcome = bench(plan(server.url, concurrency=4), folder)
    figures = outcome.rows[0].figures
    assert len(server.asked) == len({*server.asked}) == 12
    assert server.most == 4
    assert (figures.prompt_tokens, figures.completion_tokens) == (20, 5)
    assert figures.model_seconds > 0.1
    assert outcome.folder.settings.model == f"{server.url}#tiny"


def test_an_interrupted_run_goes_on_without_asking_again(server: Any, folder: Path, heard: Any) -> None:
    whole = bench(plan(server.url), folder.with_name("whole")).to_dict()
    server.asked.clear()
    with pytest.raises(KeyboardInterrupt):
        bench(plan(server.url, concurrency=1), folder, heard(stop_after=5))
    kept = [*read_journal(folder / "journal.jsonl")]
    assert len(kept) == 5
    finished = {question for episode in kept for question in [episode.turns[0].observation[-1]["content"]]}
    before = len(server.asked)
    listener = heard()
    outcome = bench(plan(server.url, concurrency=1), folder, listener)
    assert "5 of 12 episodes are already done" in listener.notes[0]
    assert len(listener.results) == 7
    seen = [message for _, message in server.asked]
    assert seen.count(kept[0].turns[0].observation[-1]["content"]) == 2
    assert len(server.asked) - before == 7
    assert finished
    assert timeless(outcome.to_dict()) == timeless(whole)
    asked = len(server.asked)
    assert bench(plan(server.url), folder).to_dict() == outcome.to_dict()
    assert len(server.asked) == asked, "a finished run asks nothing"


PROGRAM = """
import sys
from pathlib import Path
import ludus
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Plan, bench
url, folder = sys.argv[1:]
player = PlayerChoice(url, max_tokens=32)
bench(Plan("ludus/Arithmetic-v0", player, count=60, repeats=5, concurrency=130), Path(folder))
"""


@pytest.mark.slow  # starts a process
def test_a_run_that_is_killed_leaves_no_process_and_goes_on(server: Any, folder: Path) -> None:
    server.seconds = 0.5
    with subprocess.Popen([sys.executable, "-c", PROGRAM, server.url, str(folder)]) as process:
        journal = folder / "journal.jsonl"
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    time.sleep(0.5)
    kept, asked = len([*read_journal(journal)]), len(server.asked)
    assert 3 <= kept < 300
    time.sleep(0.6)
    assert len(server.asked) == asked, "its workers have ended too"
    server.asked.clear()
    server.seconds = 0.0
    outcome = bench(plan(server.url, count=60, repeats=5), folder)
    assert len(server.asked) == 300 - kept
    assert outcome.rows[0].figures.episodes == 300


@pytest.mark.slow
def test_a_process_that_is_stuck_ends_the_run_in_one_line(
    server: Any, folder: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    class Halts(heard):  # type: ignore[misc]
        def played(self, result: Any) -> None:
            super().played(result)
            if len(self.results) == 1:
                for process in started:
                    process.send_signal(signal.SIGSTOP)
                patch.setattr(play, "SILENCE_S", 1)

    begun, listener = plan(server.url, count=60, repeats=3, concurrency=130), Halts()
    server.seconds = 0.2
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", Noted)
        with pytest.raises(play.WorkerDied, match=r"no sign of life for 1 s.*command continues") as error:
            bench(begun, folder, listener)
    assert "\n" not in str(error.value)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started), "none is left behind"
    kept = len([*read_journal(folder / "journal.jsonl")])
    assert 1 <= kept == len(listener.results) < 180
    server.seconds = 0
    assert bench(begun, folder).rows[0].figures.episodes == 180


@pytest.mark.slow
def test_processes_whose_server_is_slow_are_waited_for(
    server: Any, folder: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slows(heard):  # type: ignore[misc]
        def played(self, result: Any) -> None:
            super().played(result)
            if len(self.results) == 1:
                server.seconds = 4
                patch.setattr(play, "SILENCE_S", 3)

        def ended(self, *_: Any) -> None:
            patch.undo()

    begun = plan(server.url, count=65, repeats=3, concurrency=130, player=PlayerChoice(server.url))
    with monkeypatch.context() as patch:
        patch.setattr(play, "SILENCE_S", 24)  # a sign of life every second
        outcome = bench(begun, folder, Slows())
    assert (outcome.rows[0].figures.episodes, outcome.rows[0].figures.faults) == (195, 0)


def test_a_damaged_journal_is_told_and_only_what_is_missing_is_played(folder: Path, heard: Any) -> None:
    first = bench(plan("scripted:oracle"), folder).to_dict()
    journal = folder / "journal.jsonl"
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] ^= 1
    journal.write_bytes(content[:-20])
    (folder / "results.json").write_text("{half")
    listener = heard()
    outcome = bench(plan("scripted:oracle"), folder, listener)
    assert "1 damaged lines are skipped" in listener.notes[0]
    assert len(listener.results) == 2
    assert timeless(outcome.to_dict()) == timeless(first)


def test_a_server_that_refuses_or_is_gone_ends_the_run_in_one_line(server: Any, folder: Path) -> None:
    server.status = 401
    with pytest.raises(UserError, match="refuses access"):
        bench(plan(server.url), folder)
    with pytest.raises(UserError, match=r"127\.0\.0\.1"):
        bench(plan("http://127.0.0.1:9/v1"), folder)
    assert not folder.exists()


def test_a_server_that_begins_to_refuse_keeps_what_was_played(
    server: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.answer

    def then_refuse(body: dict[str, Any]) -> Any:
        server.status = 200 if len(server.asked) < 4 else 403
        return answer(body)

    monkeypatch.setattr(server, "answer", then_refuse)
    with pytest.raises(UserError, match="refuses access"):
        bench(plan(server.url, concurrency=1), folder)
    assert len([*read_journal(folder / "journal.jsonl")]) == 4
    server.status = 200
    monkeypatch.setattr(server, "answer", answer)
    assert bench(plan(server.url), folder).rows[0].figures.episodes == 12


def test_faults_are_played_again_and_count_as_no_failure(folder: Path, heard: Any) -> None:
    bench(plan("scripted:oracle"), folder)
    journal = folder / "journal.jsonl"
    episodes = [*read_journal(journal)]
    from ludus.agents.episode import StopReason

    broken = replace(episodes[0], stop=StopReason.ENVIRONMENT_FAULT, fault="no disk", success=False)
    journal.write_bytes(journal.read_bytes() + encode(broken))
    figures = read_outcome(folder).rows[0].figures
    assert (figures.faults, figures.success.value, figures.episodes) == (1, 1, 12)
    listener = heard()
    outcome = bench(plan("scripted:oracle"), folder, listener)
    assert "faults to play again: 1" in listener.notes[0]
    assert len(listener.results) == 1
    assert outcome.rows[0].figures.faults == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"player": PlayerChoice("scripted:random", max_tokens=32)}, "model"),
        ({"player": PlayerChoice("scripted:oracle", max_tokens=33)}, "max-tokens"),
        ({"player": PlayerChoice("scripted:oracle", max_tokens=32, temperature=1)}, "temperature"),
        ({"player": PlayerChoice("scripted:oracle", max_tokens=32, seed=1)}, "seed"),
        ({"player": PlayerChoice("scripted:oracle", "react", max_tokens=32)}, "agent"),
        ({"repeats": 3}, "repeats"),
        ({"suite": "ludus/PacManChat-v0"}, "suite"),
        ({"count": 7}, "n 6, not 7"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_the_difference_named(
    folder: Path, changes: dict[str, Any], named: str
) -> None:
    begun = plan("scripted:oracle")
    bench(begun, folder)
    with pytest.raises(UserError, match=rf"{named}.*--out"):
        bench(replace(begun, **changes), folder)


def test_a_folder_in_which_nothing_was_played_is_free_for_other_settings(folder: Path) -> None:
    from ludus.agents.models import ModelLoadError

    begun = plan("scripted:oracle")
    with pytest.raises(ModelLoadError):
        bench(replace(begun, player=PlayerChoice(str(folder / "no model"))), folder)
    assert open_folder(folder).settings.model.endswith("no model")
    assert bench(begun, folder).folder.settings.model == "scripted:oracle"
    assert open_folder(folder).settings.model == "scripted:oracle"


def test_an_agent_that_does_not_exist_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(UserError, match="no agent 'wise'"):
        bench(plan("scripted:oracle", player=PlayerChoice("scripted:oracle", "wise")), folder)
    assert not folder.exists()


def test_a_folder_that_is_no_run_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(BenchError, match="not empty and not a benchmark's folder"):
        bench(plan("scripted:oracle"), folder)
    assert [file.name for file in folder.iterdir()] == ["thesis.tex"]
    with pytest.raises(BenchError, match="not a benchmark's folder"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [("bench.json", r"bench\.json is damaged"), ("tasks.json", r"tasks\.json is not a task list")],
)
@pytest.mark.parametrize("content", ["{half", "[]", pytest.param("[" * 100_000, id="deep")])
def test_damaged_settings_are_told_and_the_episodes_left_alone(
    folder: Path, name: str, words: str, content: str
) -> None:
    bench(plan("scripted:oracle"), folder)
    journal = (folder / "journal.jsonl").read_bytes()
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=words):
        bench(plan("scripted:oracle"), folder)
    assert (folder / "journal.jsonl").read_bytes() == journal


def test_an_environment_that_changed_is_told_loudly(folder: Path) -> None:
    bench(plan("scripted:oracle"), folder)
    journal = folder / "journal.jsonl"
    episodes = [*read_journal(journal)]
    journal.write_bytes(b"".join(encode(replace(episode, task="other")) for episode in episodes))
    (note,) = read_outcome(folder).notes
    assert note.startswith("THESE FIGURES ARE NOT COMPARABLE with hash")
    assert "12 episodes" in note


def test_a_damaged_cache_is_played_again(folder: Path, tmp_path: Path) -> None:
    outcome = bench(plan("scripted:oracle"), folder)
    one = outcome.folder.tasks.sets[0]
    (file,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("*-null.json")
    for damaged in ("[" * 100_000, "[{"):
        file.write_text(damaged)
        assert cached(one, "null") is None
    bench(plan("scripted:oracle"), folder)
    assert cached(one, "null") is not None
    store(one, "null", [])
    assert cached(one, "null") == []


def test_a_baseline_that_faulted_is_shown_but_played_again_by_the_next_run(
    folder: Path, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ludus.agents.episode import StopReason

    real = run.play

    def fails_once(
        player: PlayerChoice, tasks: Any, jobs: Any, concurrency: int, keep: Any, *rest: Any
    ) -> float:
        def broken(line: bytes, result: Any) -> None:
            faulted = player.model == "scripted:null" and result.task == 2
            stop = {"stop": StopReason.ENVIRONMENT_FAULT, "fault": "no disk"} if faulted else {}
            keep(line, replace(result, **stop))

        return real(player, tasks, jobs, concurrency, broken, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(run, "play", fails_once)
        row = bench(plan("scripted:oracle"), folder).rows[0]
    assert [(name, figures.faults) for name, figures in row.baselines.items()] == [
        ("null", 1),
        ("random", 0),
        ("oracle", 0),
    ]
    assert cached(row.tasks, "null") is None
    listener = heard()
    (row,) = bench(plan("scripted:oracle"), folder, listener).rows
    assert listener.who == ["scripted:oracle", "baseline null"]
    assert (row.baselines["null"].faults, row.baselines["null"].episodes) == (0, 6)
    assert cached(row.tasks, "null") is not None


def test_a_native_environment_is_refused_to_a_language_model(server: Any, folder: Path) -> None:
    with pytest.raises(UserError, match="PacManChat-v0"):
        bench(plan(server.url, suite="ludus/PacMan-v0"), folder)


# --- comparing


def test_baselines_are_kept_where_home_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bench(plan("scripted:oracle"), folder)
    kept = tmp_path / f"ludus-{os.getuid()}" / "bench"
    assert [*kept.glob("*-null.json")]


def test_two_runs_are_compared_task_by_task(folder: Path) -> None:
    a = bench(plan("scripted:random"), folder / "a").folder
    b = bench(plan("scripted:oracle"), folder / "b").folder
    (forth,) = compare(a, b).differences
    assert (forth.tasks, forth.better, forth.worse, forth.b_success) == (6, 6, 0, 1)
    assert forth.reward.low > 0
    (back,) = compare(b, a).differences
    assert (back.reward.low, back.reward.high) == pytest.approx((-forth.reward.high, -forth.reward.low))
    (same,) = compare(a, a).differences
    assert (same.reward.low, same.reward.value, same.reward.high) == (0, 0, 0)
    json.dumps(compare(a, b).to_dict())


def test_different_lists_are_compared_on_what_both_have_and_told_loudly(folder: Path) -> None:
    a = bench(plan("scripted:random"), folder / "a").folder
    b = bench(plan("scripted:oracle", count=4, repeats=1), folder / "b").folder
    compared = compare(a, b)
    assert compared.differences[0].tasks == 4
    assert compared.notes[0].startswith("THE TASK LISTS DIFFER")
    c = bench(plan("scripted:oracle", suite="ludus/PacManChat-v0", count=1, repeats=1), folder / "c").folder
    with pytest.raises(BenchError, match="no task in common"):
        compare(a, c)


def test_a_run_on_an_earlier_edition_is_shown_but_not_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = bench(plan("scripted:oracle"), folder)
    monkeypatch.setitem(tasks.EDITIONS, ARITHMETIC, 2)
    assert bench(plan("scripted:oracle"), folder).rows[0].figures == done.rows[0].figures
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"the run was begun on edition 1 of its tasks, and this version"):
        bench(plan("scripted:oracle"), folder)
