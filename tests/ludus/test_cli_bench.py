"""`ludus bench` and `ludus bench compare`, called in process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
ARITHMETIC = "ludus/Arithmetic-v0"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_a_run_prints_its_table_and_writes_a_report_that_loads_nothing(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("bench", ARITHMETIC, "--model", "scripted:random")
    result = run(*words, "--n", 4, "--repeats", 2, "--out", out)
    assert result.code == 0, result.err
    for text in (
        "Arithmetic-v0",
        "pass@2",
        "pass^2",
        "maj@2",
        "oracle",
        "8 wrong",
        "report.html",
    ):
        assert text in result.out
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "succeeds on" in page
    assert 'id="episodes-index"' in page
    again = run(*words, "--n", 4, "--repeats", 2, "--out", out)
    assert again.code == 0
    assert again.out == result.out


def test_no_name_and_no_figure_is_cut_off_and_few_columns_fit_in_80_characters(
    run: Run, tmp_path: Path
) -> None:
    words = ("bench", "ludus/ArithmeticChallenge-v0", "--model", "scripted:null", "--n", 1)
    for repeats in (1, 4):
        result = run(*words, "--repeats", repeats, "--out", tmp_path / str(repeats))
        table = [line.rstrip() for line in result.out.splitlines() if line.startswith(" ")]
        assert "…" not in result.out
        assert " ArithmeticChallenge-v0 " in result.out
        assert repeats > 1 or max(map(len, table)) <= 90
        assert "–" in next(line for line in table if "oracle" in line)  # of tokens, it has none
    page = (tmp_path / "1/report.html").read_text()
    assert "<small>episode per task</small>" in page
    assert "e−" not in page


def test_the_default_folder_is_named_by_suite_and_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("bench", ARITHMETIC, "--model", "scripted:null", "--n", 1).code == 0
    assert (tmp_path / "runs/bench/Arithmetic-v0-null/results.json").exists()
    refused = run("bench", ARITHMETIC, "--model", "scripted:null", "--n", 1, "--seed", 5)
    refused.assert_refused(1, "seed 0, not 5", "--out")
    assert "goes on from there" not in refused.err
    assert run("bench", f"{ARITHMETIC},ludus/PacManChat-v0,", "--model", "scripted:null", "-n", 1).code == 0
    assert (tmp_path / "runs/bench/Arithmetic-v0-PacManChat-v0-null").is_dir()


def test_an_agent_that_sees_rewards_has_a_folder_of_its_own_and_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("bench", ARITHMETIC, "--model", "scripted:random", "--n", 1)
    assert "upper bound" not in run(*words).out
    result = run(*words, "--agent", "best-of-2")
    assert result.code == 0, result.err
    assert "scripted:random · best-of-2 · tasks" in result.out
    assert "an upper bound" in " ".join(result.out.split())
    assert (
        "an upper bound" in (tmp_path / "runs/bench/Arithmetic-v0-random-best-of-2/report.html").read_text()
    )


def test_an_environment_of_ones_own_is_played_in_the_processes_too(run: Run, tmp_path: Path) -> None:
    words = ("bench", "examples.own_environment:example/Guess-v0", "--model", "scripted:oracle", "--n", 5)
    result = run(*words, "--repeats", 8, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    assert "example/Guess-v0" in result.out


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("toools", "--model", "scripted:oracle"), 2, "did you mean tools"),
        ((ARITHMETIC, "--model", "localhost:8000/v1"), 2, "http://localhost:8000/v1"),
        ((ARITHMETIC, "--model", "scripted:orakel"), 2, "orakel"),
        ((ARITHMETIC, "--model", "http://127.0.0.1:9/v1"), 1, "127.0.0.1:9"),
        ((ARITHMETIC, "--model", "scripted:oracle", "--n", "0"), 2, "--n 0"),
        ((ARITHMETIC, "--model", "scripted:oracle", "--repeats", "0"), 2, "--repeats 0"),
        ((ARITHMETIC, "--model", "scripted:oracle", "--temperature", "-1"), 2, "--temperature"),
        ((ARITHMETIC, "--model", "scripted:oracle", "--seed", "-1"), 2, "--seed"),
    ],
)
def test_bad_input_gets_one_line(
    run: Run, tmp_path: Path, words: tuple[str, ...], code: int, named: str
) -> None:
    run("bench", *words, *(() if "--n" in words else ("--n", 1)), "--out", tmp_path / "run").assert_refused(
        code, named
    )


def test_a_full_disk_ends_the_run_and_it_goes_on_later(
    run: Run, tmp_path: Path, files_at_most: Callable[[int], Any]
) -> None:
    import signal

    words = ("bench", ARITHMETIC, "--model", "scripted:oracle", "--n", 20, "--out", tmp_path / "run")
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with files_at_most(8_000):
            full = run(*words)
    finally:
        signal.signal(signal.SIGXFSZ, ignored)
    assert full.code == 1
    assert "the same command again goes on from there" in full.err
    assert "Traceback" not in full.err
    kept = (tmp_path / "run/journal.jsonl").read_bytes()
    assert 0 < kept.count(b"\n") < 20
    assert run(*words).code == 0
    assert (tmp_path / "run/journal.jsonl").read_bytes().startswith(kept)


# --- compare


@pytest.fixture
def runs(run: Run, tmp_path: Path) -> tuple[Path, Path]:
    for agent in ("random", "oracle"):
        words = ("bench", ARITHMETIC, "--model", f"scripted:{agent}", "--n", 3, "--out", tmp_path / agent)
        assert run(*words).code == 0
    return tmp_path / "random", tmp_path / "oracle"


def test_compare_prints_a_table_or_json(run: Run, runs: tuple[Path, Path]) -> None:
    table = run("bench", "compare", *runs)
    assert table.code == 0
    assert "+1.000" in table.out
    assert "Arithmetic-v0 " in table.out
    assert "…" not in table.out
    read = json.loads(run("bench", "compare", *runs, "--json").out)
    (one,) = read["differences"]
    assert (one["environment"], one["tasks"], one["better"], one["success"]["value"]) == (ARITHMETIC, 3, 3, 1)


def test_compare_refuses_what_is_no_run(run: Run, runs: tuple[Path, Path], tmp_path: Path) -> None:
    run("bench", "compare", runs[0], tmp_path / "nothing").assert_refused(
        1, "nothing", "not a benchmark's folder"
    )


def test_bench_is_a_command_of_one_word_and_of_two(run: Run) -> None:
    assert "usage: ludus bench [" in run("bench", "--help").out
    assert "usage: ludus bench compare" in run("bench", "compare", "--help").out
    assert "bench compare" in run("bench", "--help").out
    assert "SUITE" in run("bench").err + run("bench").out


def test_no_figure_is_printed_without_the_faults_that_it_leaves_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ludus.envs.base import ChatEnv
    from ludus.envs.faults import EnvironmentFault

    reset = ChatEnv.reset

    def broken(env: Any, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None and seed % 4 == 0:
            raise EnvironmentFault("no disk")
        return reset(env, seed=seed, options=options)

    monkeypatch.setattr(ChatEnv, "reset", broken)
    told = run("eval", ARITHMETIC, "--agent", "null", "--episodes", 8, "--seed", 0)
    assert "2 of 8 episodes (25.0%) ended in a fault and count in no figure" in told.out
    assert "2 (25.0%)" in told.out
    monkeypatch.undo()
    assert "ended in a fault" not in run("eval", ARITHMETIC, "--agent", "null", "--episodes", 8).out

    from dataclasses import replace

    from ludus.agents.bench.compare import compare
    from ludus.agents.bench.journal import encode, read_journal
    from ludus.agents.bench.player import PlayerChoice
    from ludus.agents.bench.run import Plan, bench, read_outcome
    from ludus.agents.episode import StopReason
    from ludus.cli.bench.table import print_outcome
    from ludus.report.bench.page import render

    folder = bench(Plan(ARITHMETIC, PlayerChoice("scripted:oracle"), count=4), tmp_path / "run").folder
    episode, *_ = read_journal(folder.journal)
    fault = replace(episode, stop=StopReason.ENVIRONMENT_FAULT, fault="no disk", success=False)
    folder.journal.write_bytes(folder.journal.read_bytes() + encode(fault))
    outcome = read_outcome(tmp_path / "run")
    print_outcome(outcome)
    assert "3/4<small>1 fault</small>" in render(outcome)
    note, *_ = compare(outcome.folder, outcome.folder).notes
    assert "1 of 4 episodes (25.0%) ended in a fault" in note


def test_a_finished_run_tells_the_faults_of_its_evaluations(tmp_path: Path) -> None:
    from ludus.cli.train import outcome

    figures = {"value": 0.5, "low": 0.4, "high": 0.6}
    summary = {"success": figures, "mean_return": figures, "episodes": 512, "faults": 3}
    (tmp_path / "evaluation.json").write_text(
        json.dumps({"primed": {**summary, "faults": 0}, "final": summary})
    )
    *_, last = outcome(tmp_path)
    assert last == "final: 3 of 512 episodes (0.6%) ended in a fault and count in no figure"
    assert len(outcome(tmp_path)) == 3


def test_too_many_episodes_without_a_score_are_told_first_and_by_the_exit_code(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ludus.envs.base import ChatEnv
    from ludus.envs.faults import EnvironmentFault

    step, broken = ChatEnv.step, [0]

    def breaks(env: Any, action: Any) -> Any:
        broken[0] += 1
        if broken[0] % 5 == 0:
            raise EnvironmentFault("no disk")
        return step(env, action)

    out = tmp_path / "run"
    words = ("bench", ARITHMETIC, "--model", "scripted:oracle", "--n", 10, "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr(ChatEnv, "step", breaks)
        result = run(*words)
    assert result.code == 3
    assert result.out.splitlines()[0].startswith("note: INCOMPLETE: 2 of 10 episodes (20.0%)")
    assert "[0.800, 1.000]" in result.out
    assert "8/10" in result.out
    written = json.loads((out / "results.json").read_text())
    assert written["notes"][0].startswith("INCOMPLETE")
    assert written["environments"][0]["figures"]["success_bounds"] == {"low": 0.8, "high": 1.0}
    again = run(*words)
    assert again.code == 0, "what broke was played again"
    assert "INCOMPLETE" not in again.out

    monkeypatch.setattr(ChatEnv, "step", breaks)
    told = run("eval", ARITHMETIC, "--agent", "oracle", "--episodes", 10, "--seed", 0)
    assert told.code == 3
    assert told.out.startswith("note: INCOMPLETE: 2 of 10 episodes")
    assert "success is between 0.800 and 1.000" in " ".join(told.out.split())
    assert "8 of 10" in told.out


def test_runs_are_ranked_and_shards_joined(run: Run, runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    result = run("bench", "board", *runs, "--html", page)
    assert result.code == 0, result.err
    assert "scripted:oracle" in result.out
    assert "scripted:oracle leads with 100.0%" in page.read_text()
    read = json.loads(run("bench", "board", *runs, "--json").out)
    assert [entry["standing"] for entry in read["entries"]] == ["best", "not significant"]
    run("bench", "board", runs[0]).assert_refused(2, "at least two")

    for share in ("1/2", "2/2"):
        words = ("bench", ARITHMETIC, "--model", "scripted:random", "--n", 3, "--shard", share)
        assert run(*words, "--out", tmp_path / share[0]).code == 0
    merged = run("bench", "merge", tmp_path / "merged", tmp_path / "1", tmp_path / "2")
    assert merged.code == 0, merged.err
    read = json.loads(run("bench", "compare", runs[0], tmp_path / "merged", "--json").out)
    assert read["differences"][0]["success"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    run("bench", "merge", tmp_path / "x", tmp_path / "1").assert_refused(1, "shard 2/2 is missing")
    run("bench", ARITHMETIC, "--model", "scripted:null", "--shard", "3/2").assert_refused(2, "--shard 3/2")


def test_what_holds_a_server_back_stands_in_the_display_while_it_does() -> None:
    from rich.console import Console

    from ludus.cli.bench.progress import BenchProgress, draw

    def drawn() -> str:
        console = Console(width=100, color_system=None)
        with console.capture() as capture:
            console.print(draw(progress, "math", 1.0))
        return capture.get()

    progress = BenchProgress()
    progress.paced("12 at once: the server limits requests")
    assert "12 at once: the server limits requests" in drawn()
    progress.paced("")
    assert "server limits" not in drawn()
