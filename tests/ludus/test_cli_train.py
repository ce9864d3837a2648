"""`ludus train` and what it leaves for `view`, `eval` and `play`, with runs of a few steps."""

import contextlib
import io
import json
import re
import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

from ludus.agents.store import read_episodes
from ludus.cli import main
from ludus.trainers.config.reading import load_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.listener import Listener, Phase

CONFIG = Path(__file__).parents[2] / "configs" / "tiny.toml"
SHORT = (
    "--sft.steps=2",
    "--sft.demonstrations=16",
    "--sft.heldout-demonstrations=4",
    "--grpo.steps=2",
    "--grpo.groups=2",
    "--evaluation.episodes=8",
    "--checkpoint.every=1",
)
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished run, and what the command printed."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["train", str(CONFIG), "--directory", str(directory), "--name", "mine", *SHORT])
    assert code == 0
    return directory, printed.getvalue()


@pytest.fixture
def finished(finished_run: tuple[Path, str]) -> Path:
    return finished_run[0]


class PressesCtrlC(Listener):
    """Interrupts when a phase begins."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def phase_begun(self, phase: Phase, total: int, completed: int) -> None:
        if phase == self.phase:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Interrupts the following runs when a phase begins; "" for never."""

    def at(phase: str) -> None:
        @contextmanager
        def watch(config: RunConfig, directory: Path) -> Iterator[Listener]:
            yield PressesCtrlC(phase)

        monkeypatch.setattr("ludus.cli.progress.watch", watch)

    return at


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing it takes longer than these runs do."""
    monkeypatch.setattr("ludus.report.write_report", lambda run: run / "report.html")


def test_training_prints_what_it_achieved_and_where_the_report_is(finished_run: tuple[Path, str]) -> None:
    directory, printed = finished_run
    assert re.search(r"success +primed \d\.\d+ \[.*\] → final \d\.\d+ \[.*\]", printed)
    assert f"report: {directory / 'report.html'}" in printed
    assert "<html" in (directory / "report.html").read_text(encoding="utf-8")
    config = load_config(directory / "config.toml")
    assert config.run.name == "mine"
    assert config.grpo.groups == 2
    for phase in ("demonstrations", "priming", "GRPO", "evaluation"):
        assert phase in printed


@pytest.mark.usefixtures("no_report")
def test_runs_go_to_the_folder_of_runs_by_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("train", CONFIG, "--name", "here", *SHORT, "--grpo.steps=0", "--sft.steps=0")
    assert result.code == 0, result.err
    assert (tmp_path / "runs" / "here" / "models" / "primed").is_dir()


# These have tests of their own: `test_own_data`, `test_rft`, `test_preferences`, `test_reward_model`.
OTHERS = ("data", "rft", "preferences", "episodes", "steps", "reward_model")
"""Phases that the run does not have."""


@pytest.mark.parametrize(
    "phase",
    [
        phase if phase in ("demonstrations", "grpo") else pytest.param(phase, marks=pytest.mark.slow)
        for phase in get_args(Phase)
        if phase not in OTHERS
    ],
)
@pytest.mark.usefixtures("no_report")
def test_ctrl_c_in_any_phase_says_how_to_go_on_and_that_works(
    run: Run, interrupt: Run, tmp_path: Path, phase: str
) -> None:
    directory = tmp_path / "run"
    interrupt(phase)
    words = (*SHORT, "--validation.every=1", "--validation.tasks=4")
    result = run("train", CONFIG, "--directory", directory, *words)
    result.assert_refused(130, "interrupted", f"`ludus train {directory}/config.toml --resume`")
    if phase in ("demonstrations", "grpo"):  # `trainers/test_run` resumes from everywhere
        interrupt("")
        words = re.search(r"`ludus (.+)`", result.err)[1].split()  # type: ignore[index]
        assert run(*words).code == 0
        assert json.loads((directory / "evaluation.json").read_text()).keys() == {"primed", "best", "final"}


def test_ctrl_c_while_the_report_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(directory: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ludus.report.write_report", interrupted)
    result = run("train", CONFIG, "--directory", tmp_path / "run", *SHORT)
    result.assert_refused(130, f"`ludus view {tmp_path / 'run'}`")
    assert "success" in result.out


@pytest.mark.usefixtures("no_report", "finished")  # the latter leaves the small model in the cache
def test_a_full_disk_loses_nothing_that_was_trained(run: Run, files_at_most: Run, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with files_at_most(30_000):
        result = run("train", CONFIG, "--directory", directory, *SHORT)
    result.assert_refused(1, directory, "--resume")
    assert run("train", directory / "config.toml", "--resume").code == 0


@pytest.mark.usefixtures("no_report")
def test_a_full_disk_while_the_small_model_is_made(
    run: Run, files_at_most: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("train", CONFIG, "--directory", tmp_path / "run", *SHORT)
    with files_at_most(30_000):
        run(*words).assert_refused(1, tmp_path / "cache")
    assert run(*words).code == 0


@pytest.mark.usefixtures("no_report")
def test_a_corrupt_checkpoint_is_named(run: Run, interrupt: Run, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    interrupt("evaluation-primed")
    run("train", CONFIG, "--directory", directory, *SHORT)
    interrupt("evaluation-final")
    run("train", directory / "config.toml", "--resume")
    last = max((directory / "checkpoints").iterdir())
    final = directory / "models" / "final"
    for file in final.iterdir():
        file.unlink()
    final.rmdir()
    weights = last / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    interrupt("")
    run("train", directory / "config.toml", "--resume").assert_refused(1, weights, "corrupt")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--grpo.stepz=3"], ["grpo.stepz", "steps"]),
        (["--gpro.steps=3"], ["gpro", "grpo"]),
        (["--grpo.steps=many"], ["grpo.steps", "many"]),
        (["--grpo.loss=grop"], ["grop", "grpo"]),
        (["--grpo.group-size=1"], ["group_size"]),
        (["--rollout.top-p=1.9"], ["top_p"]),
        (["--rollout.max-tokens=9999"], ["max_tokens", "max_episode_tokens"]),
        (["--environment.id=ludus/Aritmetic-v0"], ["ludus/Aritmetic-v0", "ludus/Arithmetic-v0"]),
        (["--environment.id=ludus/PacMan-v0", "--environment.arguments={}"], ["ludus/PacMan-v0"]),
        (["--environment.id=no_such_module:x/Y-v0"], ["no_such_module"]),
        (["--environment.arguments.digit=3"], ["digit"]),
        (["--environment.arguments.digits=-3"], ["-3"]),
        (["--grpo.steps"], ["--grpo.steps"]),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path, words: list[str], names: list[str]
) -> None:
    directory = tmp_path / "run"
    run("train", CONFIG, "--directory", directory, *words).assert_refused(2, *names)
    assert not directory.exists()


def test_a_missing_configuration_names_those_that_are_there(run: Run) -> None:
    run("train", CONFIG.with_name("tinny.toml")).assert_refused(2, "tinny.toml", "tiny.toml")


def test_a_configuration_that_is_no_toml(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[run\nname = 1")
    run("train", path).assert_refused(2, path, "TOML")


def test_an_existing_run_is_not_overwritten(run: Run, finished: Path) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    run("train", CONFIG, "--directory", finished, *SHORT).assert_refused(1, finished, "--resume")
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_run_that_is_not_there_cannot_be_resumed(run: Run, tmp_path: Path) -> None:
    run("train", CONFIG, "--resume", "--directory", tmp_path / "none").assert_refused(1, tmp_path / "none")


def test_a_run_is_not_resumed_with_another_configuration(run: Run, finished: Path) -> None:
    result = run("train", finished / "config.toml", "--resume", "--grpo.learning-rate=0.5")
    result.assert_refused(2, "grpo.learning_rate", "0.5")


def test_a_directory_that_is_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run("train", CONFIG, "--directory", tmp_path / "file").assert_refused(2, tmp_path / "file")


@pytest.mark.usefixtures("no_report")
def test_a_model_that_is_not_there_can_be_mended_in_place(run: Run, finished: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(re.sub(r"\[model\.small\]\n(.+\n)+", "", CONFIG.read_text()))
    missing = tmp_path / "models" / "none"
    words = ("train", config, "--directory", tmp_path / "run", *SHORT)
    run(*words, f"--model.path={missing}").assert_refused(1, missing)
    assert run(*words, f"--model.path={finished / 'models' / 'final'}").code == 0


def test_training_without_its_packages_names_the_extra(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "ludus.trainers.run.job", raising=False)
    result = run("train", CONFIG, "--directory", tmp_path / "run")
    result.assert_refused(1, "torch", "pip install 'ludus[train]'")
    assert not (tmp_path / "run").exists()


# --- what a run is good for


def test_view_writes_the_report_and_opens_it(
    run: Run, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished / "report.html").unlink()
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or True)
    assert run("view", finished, "--no-open").out == f"{finished / 'report.html'}\n"
    assert opened == []
    assert run("view", finished).code == 0
    assert opened == [(finished / "report.html").as_uri()]


def test_view_on_a_full_disk(run: Run, finished: Path, files_at_most: Run) -> None:
    with files_at_most(1000):
        run("view", finished, "--no-open").assert_refused(1, finished, "written")


def test_eval_plays_a_runs_model_on_what_it_trained_on(run: Run, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "episodes.parquet"
    words = ("--model", finished, "--episodes", 4, "--out", out, "--arg", "digits=3")
    result = run("eval", "ludus/Arithmetic-v0", *words)
    assert result.code == 0, result.err
    episodes = read_episodes(out)
    assert [episode.arguments for episode in episodes] == [
        {"operations": ["add"], "digits": 3, "phrasing": "bare"}
    ] * 4
    assert all(0 < len(turn.completion_ids) <= 24 for episode in episodes for turn in episode.turns)


def test_play_shows_a_runs_model(run: Run, finished: Path) -> None:
    result = run("play", "ludus/Arithmetic-v0", "--model", finished)
    assert result.code == 0, result.err
    assert "assistant" in result.out
    assert "seed 0: return" in result.out


def test_bench_measures_a_run_on_what_it_was_trained_on(run: Run, finished: Path, tmp_path: Path) -> None:
    config = load_config(finished / "config.toml")
    assert config.environment.arguments
    out = tmp_path / "bench"
    measured = run("bench", config.environment.id, "--model", finished, "-n", 2, "--out", out)
    assert measured.code == 0, measured.err
    assert "has the arguments of the model's training" in " ".join(measured.out.split())
    (listed,) = json.loads((out / "tasks.json").read_text())["environments"]
    assert listed["arguments"] == json.loads(json.dumps(config.environment.arguments))
    told = run("bench", config.environment.id, "--model", finished / "models/final", "-n", 2, "--out", out)
    told.assert_refused(1, "holds another run", "trained")


def test_a_model_that_cannot_be_computed_ends_every_command_in_one_line(
    run: Run, finished: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    broken = tmp_path / "broken"
    model = AutoModelForCausalLM.from_pretrained(finished / "models" / "final")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    model.save_pretrained(broken)
    AutoTokenizer.from_pretrained(finished / "models" / "final").save_pretrained(broken)
    config = tmp_path / "config.toml"
    config.write_text(re.sub(r"\[model\.small\]\n(.+\n)+", "", CONFIG.read_text()))
    for words in (
        ("eval", "ludus/Arithmetic-v0", "--model", broken, "--episodes", 2),
        ("bench", "ludus/Arithmetic-v0", "--model", broken, "--n", 1, "--out", tmp_path / "bench"),
        ("train", config, "--directory", tmp_path / "run", f"--model.path={broken}", *SHORT),
    ):
        result = run(*words)
        assert result.code == 1, result
        last = result.err.splitlines()[-1]  # a benchmark first says what it is about to play
        assert last.startswith("error: Qwen3ForCausalLM gives logits that are NaN or infinite")
        assert "Traceback" not in result.err
