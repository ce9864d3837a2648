"""The whole job: its folder, and that a run stopped anywhere ends in the same bits."""

import datetime
import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from ludus.agents.models import LoadedModel
from ludus.agents.store import read_episodes
from ludus.envs.math.arithmetic.environment import Arithmetic
from ludus.kernels import apply_kernels
from ludus.report.run.files import ReportError, read_run
from ludus.tools.checksums import sealed_text
from ludus.tools.content import NoContentKey
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import CheckpointError, ConfigError, RunError
from ludus.trainers.listener import Listener, Phase
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run import job
from ludus.trainers.run import policy as policy_module
from ludus.trainers.run.directory import begun_on, open_run
from ludus.trainers.run.job import computing, train
from ludus.trainers.run.policy import load_policy, run_engine

from .conftest import changed

CONFIG = Path(__file__).parents[2] / "configs" / "tiny.toml"
SECONDS = ("seconds/", "tokens_per_second")


class Killed(Exception):
    pass


class StopAt(Listener):
    """Raises, or presses Ctrl-C, at a given point of a phase; records what it was told."""

    def __init__(self, phase: Phase, completed: int, interrupt: bool = False) -> None:
        self.at = (phase, completed)
        self.interrupt = interrupt

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        if (phase, completed) == self.at:
            if not self.interrupt:
                raise Killed
            signal.raise_signal(signal.SIGINT)


class Leaves(Listener):
    """Copies the folder of a run at points of its phases: what a kill there leaves behind."""

    def __init__(self, run: Path, *points: tuple[Phase, int]) -> None:
        self.run, self.points = run, points

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        if (phase, completed) in self.points:
            shutil.copytree(self.run, left(self.run, phase, completed))


def left(run: Path, phase: Phase, completed: int) -> Path:
    """What a run left behind at a point."""
    return run.with_name(f"{run.name}-{phase}-{completed}")


class Recorder(Listener):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def phase_begun(self, phase: Phase, total: int, completed: int) -> None:
        self.told.append((phase, total, completed))

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        self.told.append((phase, completed))

    def phase_ended(self, phase: Phase, seconds: float) -> None:
        self.told.append((phase, "ended"))


def outcome(run: Path) -> dict[str, Any]:
    """The parts of a run that must not depend on whether it was stopped."""
    lines = [
        {name: value for name, value in line.items() if not name.startswith(SECONDS)}
        for line in read_metrics(run)
    ]
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    return {
        "weights": (run / "models" / "final" / "model.safetensors").read_bytes(),
        "primed": (run / "models" / "primed" / "model.safetensors").read_bytes(),
        "metrics": lines,
        "evaluation": json.loads((run / "evaluation.json").read_text()),
        "files": {file for file in files if not file.startswith("tensorboard")},
    }


FAST: list[tuple[Phase, int]] = [
    ("demonstrations", 10),  # before anything was saved
    ("evaluation-primed", 7),
    ("grpo", 4),
    ("evaluation-final", 30),
]
SLOW: list[tuple[Phase, int]] = [
    ("sft", 1),  # before the first checkpoint
    ("sft", 8),  # after the last step, before its checkpoint
    ("grpo", 1),
]
BETWEEN_CHECKPOINTS: tuple[Phase, int] = ("sft", 5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped; what it would have left behind lies beside it."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    return train(load_config(CONFIG), run, listener=Leaves(run, *FAST, *SLOW, BETWEEN_CHECKPOINTS))


@pytest.fixture
def killed(whole: Path, tmp_path: Path) -> Path:
    """A run that was killed while it primed, between two checkpoints."""
    return shutil.copytree(left(whole, *BETWEEN_CHECKPOINTS), tmp_path / "run")


def test_the_folder_is_laid_out_as_documented(whole: Path, tiny: RunConfig) -> None:
    assert load_config(whole / "config.toml") == tiny
    assert {path.name for path in whole.iterdir()} == {
        "config.toml",
        "metrics.jsonl",
        "tensorboard",
        "trust.json",
        "evaluation.json",
        "models",
        "checkpoints",
        "episodes",
    }
    assert {path.name for path in (whole / "checkpoints").iterdir()} == {"step-000012", "step-000014"}
    stored = {path.name: read_episodes(path) for path in (whole / "episodes").iterdir()}
    assert {name: len(episodes) for name, episodes in stored.items()} == {
        "evaluation-primed.parquet": 32,
        "evaluation-final.parquet": 32,
        "train-000001.parquet": 16,
        "train-000003.parquet": 16,
        "train-000006.parquet": 16,
    }
    for model in ("primed", "final"):
        names = {path.name for path in (whole / "models" / model).iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    evaluation = json.loads((whole / "evaluation.json").read_text())
    assert evaluation["primed"]["episodes"] == evaluation["final"]["episodes"] == 32


def test_evaluated_tasks_are_distinct_the_same_and_never_trained_on(whole: Path) -> None:
    def tasks(name: str) -> list[str]:
        return [episode.task for episode in read_episodes(whole / "episodes" / name)]

    held_out = tasks("evaluation-primed.parquet")
    assert tasks("evaluation-final.parquet") == held_out
    assert len(set(held_out)) == 32
    trained = {task for number in (1, 3, 6) for task in tasks(f"train-{number:06d}.parquet")}
    assert not trained & set(held_out)


def test_every_step_is_measured(whole: Path) -> None:
    lines = read_metrics(whole)
    assert [(line["phase"], line["step"]) for line in lines] == [
        *(("sft", step) for step in range(1, 9)),
        *(("grpo", step) for step in range(1, 7)),
    ]
    assert {"loss", "tokens_per_second"} <= lines[0].keys()
    assert [line["step"] for line in lines if "heldout_loss" in line] == [4, 8]
    wanted = [
        "reward",
        "reward_std",
        "terms/correct",
        "form/format",
        "success",
        "entropy",
        "kl",
        "loss",
        "ratio_mean",
        "ratio_max_deviation",
        "clip_low",
        "clip_high",
        "grad_norm",
        "learning_rate",
        "completion_tokens",
        "completion_tokens_max",
        "turns",
        "flat_groups",
        "stop/environment:terminated",
        "fault_share",
        "mismatch_mean",
        "mismatch_max",
        "tokens_per_second",
        "seconds/rollout",
        "seconds/train",
        "seconds/total",
        "cut",
        "policy_kl",
    ]
    for line in lines[8:]:
        assert set(wanted) <= line.keys()
    assert lines[8]["kl"] == 0.0  # nothing has moved yet
    assert lines[9]["kl"] > 0.0
    assert max(line["mismatch_max"] for line in lines[8:]) < 1e-4


def test_the_listener_hears_of_every_phase(tmp_path: Path, tiny: RunConfig) -> None:
    short = parse_config(
        {
            **tiny.model_dump(),
            "grpo": {**tiny.grpo.model_dump(), "steps": 1},
            "sft": {"steps": 1, "demonstrations": 4},
        }
    )
    listener = Recorder()
    train(short, tmp_path / "run", listener=listener)
    begun = [told for told in listener.told if len(told) == 3]
    assert begun == [
        ("model", 0, 0),
        ("demonstrations", 132, 0),
        ("sft", 1, 0),
        ("evaluation-primed", 32, 0),
        ("grpo", 1, 0),
        ("evaluation-final", 32, 0),
    ]
    assert [told[0] for told in listener.told if told[1] == "ended"] == [told[0] for told in begun]
    assert ("evaluation-final", 32) in listener.told


@pytest.mark.parametrize(
    ("phase", "completed"), [*FAST, *(pytest.param(*point, marks=pytest.mark.slow) for point in SLOW)]
)
def test_a_run_stopped_anywhere_ends_in_the_same_bits(
    whole: Path, tmp_path: Path, tiny: RunConfig, phase: Phase, completed: int
) -> None:
    run = shutil.copytree(left(whole, phase, completed), tmp_path / "run")
    train(tiny, run, resume=True)
    assert outcome(run) == outcome(whole)


def test_a_run_goes_on_with_the_small_model_that_it_began_with(
    whole: Path, killed: Path, tmp_path: Path, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version may make another: its environments give the tokenizer other texts."""
    other = tiny.model_copy(update={"run": tiny.run.model_copy(update={"seed": 99})})
    another = policy_module.initial_model(other, tmp_path / "nowhere")
    monkeypatch.setattr(policy_module, "build_small_model", lambda *_, **__: another)
    train(tiny, killed, resume=True)
    assert outcome(killed) == outcome(whole)


def test_a_run_that_did_not_keep_its_small_model_says_so(killed: Path, tiny: RunConfig) -> None:
    shutil.rmtree(killed / "models")
    with pytest.raises(RunError, match="the version of Ludus that began it"):
        train(tiny, killed, resume=True)


@pytest.mark.parametrize("phase", ["sft", "grpo"])
def test_ctrl_c_finishes_the_step_and_saves_it(
    whole: Path, tmp_path: Path, tiny: RunConfig, phase: Phase
) -> None:
    run = tmp_path / "run"
    if phase == "grpo":
        shutil.copytree(left(whole, "grpo", 1), run)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after {phase} step 3 of .; it is saved"):
        train(tiny, run, resume=run.exists(), listener=StopAt(phase, 3, interrupt=True))
    assert signal.getsignal(signal.SIGINT) is handler
    listener = Recorder()
    train(tiny, run, resume=True, listener=listener)
    total = {"sft": 8, "grpo": 6}[phase]
    assert (phase, total, 3) in listener.told
    assert outcome(run) == outcome(whole)


def test_a_finished_run_resumes_to_nothing(whole: Path, tiny: RunConfig) -> None:
    before, listener = outcome(whole), Recorder()
    train(tiny, whole, resume=True, listener=listener)
    assert listener.told == []
    assert outcome(whole) == before


def test_sigkill_and_resume(whole: Path, tmp_path: Path, tiny: RunConfig) -> None:
    run = tmp_path / "run"
    code = (
        "import sys; from ludus.trainers.config.reading import load_config; "
        "from ludus.trainers.run.job import train; train(load_config(sys.argv[1]), sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(CONFIG), str(run)])
    while process.poll() is None and not list((run / "checkpoints").glob("step-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "evaluation.json").exists() or len(read_metrics(run)) < 14
    train(tiny, run, resume=True)
    assert outcome(run) == outcome(whole)


def test_an_existing_run_is_not_overwritten(whole: Path, tiny: RunConfig) -> None:
    before = outcome(whole)
    with pytest.raises(RunError, match=r"exists already .* --resume"):
        train(tiny, whole)
    assert outcome(whole) == before


def test_a_resume_clears_what_the_killed_process_was_writing(whole: Path, tiny: RunConfig) -> None:
    before = outcome(whole)
    for folder in (".step-000016.7.partial", ".step-000010.7.removed"):
        (whole / "checkpoints" / folder).mkdir()
        (whole / "checkpoints" / folder / "model.safetensors").write_bytes(b"half")
    (whole / ".evaluation.json.7.partial").write_bytes(b"half")
    (whole / "episodes" / ".train-000006.parquet.123.partial").write_bytes(b"half")
    train(tiny, whole, resume=True)
    assert outcome(whole) == before


def test_templates_are_told_the_day_on_which_the_run_began(
    tmp_path: Path, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    days: list[datetime.date | None] = []
    monkeypatch.setattr(job, "_train", lambda config, run, listener: days.append(config.run.day))
    before = datetime.date.today()
    run = train(tiny, tmp_path / "run")
    assert days[0] == begun_on(run)
    assert before <= begun_on(run) <= datetime.date.today()
    # As if it had begun earlier.
    (run / "config.toml").write_text(sealed_text("# begun on 2026-02-28\n" + tiny.to_toml()))
    train(tiny, run, resume=True)
    train(load_config(run / "config.toml"), run, resume=True)
    assert days[1:] == [datetime.date(2026, 2, 28)] * 2
    own = changed(tiny, "run", day=datetime.date(2025, 1, 2))
    with pytest.raises(ConfigError, match=r"run.day = .*but the run began with nothing"):
        train(own, run, resume=True)
    with open_run(own, tmp_path / "own", resume=False) as other:
        assert load_config(other / "config.toml") == own
    train(own, tmp_path / "own", resume=True)
    assert days[3] == datetime.date(2025, 1, 2)


def test_there_is_nothing_to_resume(tmp_path: Path, tiny: RunConfig) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        train(tiny, tmp_path / "nowhere", resume=True)


def test_a_run_goes_on_with_its_own_configuration_only(whole: Path, tiny: RunConfig) -> None:
    other = parse_config({**tiny.model_dump(), "run": {"name": "tiny", "threads": 1, "seed": 5}})
    with pytest.raises(ConfigError, match=r"run\.seed = 5, but the run began with 0"):
        train(other, whole, resume=True)


def test_a_corrupt_checkpoint_is_never_passed_over(killed: Path, tiny: RunConfig) -> None:
    weights = killed / "checkpoints" / "step-000004" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"step-000004/model\.safetensors is missing or corrupt"):
        train(tiny, killed, resume=True)


class Notes(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_of_few_tasks_half_are_held_out_and_the_run_says_so(tmp_path: Path, tiny: RunConfig) -> None:
    """An environment of 81 tasks, where the evaluation asks for 512."""
    dump = tiny.model_dump()
    small = {"operations": ["add"], "digits": 1, "phrasing": "bare"}
    config = parse_config(
        {
            **dump,
            "environment": {"id": "ludus/Arithmetic-v0", "arguments": small},
            "evaluation": {"episodes": 512},
            "sft": {**dump["sft"], "steps": 1, "demonstrations": 16},
            "grpo": {**dump["grpo"], "steps": 1},
        }
    )
    told = Notes()
    run = train(config, tmp_path / "run", listener=told)
    (note,) = [note for note in told.notes if "few distinct tasks" in note]
    held_out = {episode.task for episode in read_episodes(run / "episodes" / "evaluation-final.parquet")}
    assert f": {len(held_out)} of them are held out, not 512" in note
    assert 25 <= len(held_out) <= 60
    trained = {episode.task for episode in read_episodes(run / "episodes" / "train-000001.parquet")}
    assert not trained & held_out


def test_a_run_by_anchor_resumes_to_the_bit_and_tells_once_what_it_lacks(
    tmp_path: Path, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(env: Arithmetic, state: Any) -> int:
        raise NoContentKey("an environment without keys")

    config = changed(changed(tiny, "grpo", credit="anchor", omega=0.5), "evaluation", episodes=4)
    config = changed(config, "sft", steps=2, demonstrations=16, heldout_demonstrations=4)
    whole = train(config, tmp_path / "whole")
    for line in read_metrics(whole):
        if line["phase"] == "grpo":
            # All turns of a group are taken at its start.
            assert (line["anchor/company"], line["anchor/size"], line["anchor/observed"]) == (1.0, 4.0, 0.0)

    monkeypatch.setattr(Arithmetic, "anchor", without)
    run, before, after = tmp_path / "stopped", StopAt("grpo", 3), Notes()
    told: list[str] = []
    monkeypatch.setattr(before, "note", told.append)
    with pytest.raises(Killed):
        train(config, run, listener=before)
    resumed = train(config, run, resume=True, listener=after)
    assert [line["anchor/observed"] for line in read_metrics(resumed) if line["phase"] == "grpo"] == [1.0] * 6
    (note,) = [note for note in (*told, *after.notes) if "anchor" in note]
    assert note.startswith('GRPO step 1: no info["anchor"] from ludus/Arithmetic-v0')
    # A single turn's observation tells its state as well as the key does.
    weights = "models/final/model.safetensors"
    assert (resumed / weights).read_bytes() == (whole / weights).read_bytes()


class Second(Listener):
    """Tries to resume a run while it is running."""

    def __init__(self, config: RunConfig, run: Path) -> None:
        self.config, self.run = config, run

    def phase_begun(self, phase: Phase, total: int, completed: int) -> None:
        for resume in (True, False):
            with pytest.raises(RunError, match="another process is at work"):
                train(self.config, self.run, resume=resume)
        raise Killed


def test_two_processes_cannot_be_at_work_on_one_run(tmp_path: Path, tiny: RunConfig) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(tiny, run, listener=Second(tiny, run))
    with pytest.raises(Killed):  # the first has let go of it
        train(tiny, run, resume=True, listener=StopAt("demonstrations", 1))


class RemovesRun(Listener):
    def __init__(self, run: Path) -> None:
        self.run = run

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        if (phase, completed) == ("sft", 3):
            shutil.rmtree(self.run)


# TensorBoard's own thread says so too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_whose_folder_is_removed_says_so_and_makes_up_no_other(tmp_path: Path, tiny: RunConfig) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunError, match="folder was removed or renamed"):
        train(tiny, run, listener=RemovesRun(run))
    assert not run.exists()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_record_of_the_evaluation_is_named(whole: Path, tiny: RunConfig, content: str) -> None:
    record = whole / "evaluation.json"
    before = record.read_bytes()
    record.write_text(content)
    with pytest.raises(RunError, match=r"evaluation\.json: not .* delete it"):
        train(tiny, whole, resume=True)
    record.write_bytes(before)


def test_the_engine_waits_for_a_step_as_long_as_it_may_take(whole: Path, tiny: RunConfig) -> None:
    policy = load_policy(whole / "models" / "primed", tiny)
    assert run_engine(policy, tiny).patience_s == tiny.rollout.step_seconds


def test_with_fused_operators_it_is_the_same_run(
    whole: Path, tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: policy, reference and engine compute with them, and what is saved is plain."""
    applied: list[int] = []

    def apply(model: PreTrainedModel) -> None:
        applied.append(len(apply_kernels(model).modules))

    monkeypatch.setattr(policy_module, "kernels_pay", lambda model: True)
    monkeypatch.setattr(policy_module, "apply_kernels", apply)
    run = train(tiny, tmp_path / "run")
    assert applied == [15] * 5  # primed, evaluated, policy and reference, evaluated
    before, after = read_metrics(whole), read_metrics(run)
    for plain, fused in zip(before[:8], after[:8], strict=True):
        assert fused["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    assert max(line["mismatch_max"] for line in after[8:]) < 1e-4
    for model in ("primed", "final"):
        for name in ("config.json", "model.safetensors"):
            path = Path("models", model, name)
            assert (run / path).stat().st_size == (whole / path).stat().st_size


def test_without_a_gpu_models_stay_plain(policy: LoadedModel) -> None:
    assert not any("ludus" in base.__module__ for m in policy.model.modules() for base in type(m).__mro__)


def test_memory_is_not_filled_twice(tiny: RunConfig) -> None:
    with computing(tiny):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_a_run_from_before_checksums_and_formats_goes_on(tmp_path: Path) -> None:
    """Begun by the version before, killed after GRPO step 2 of 3, whose last checkpoint is step 1."""
    run = tmp_path / "run"
    with zipfile.ZipFile(Path(__file__).parent / "data" / "run-without-formats.zip") as archive:
        archive.extractall(run)
    before = [line for line in read_metrics(run) if (line["phase"], line["step"]) != ("grpo", 2)]
    told = Recorder()
    train(load_config(run / "config.toml"), run, resume=True, listener=told)
    assert ("grpo", 3, 1) in told.told
    lines = read_metrics(run)
    assert lines[: len(before)] == before
    assert [line["step"] for line in lines if line["phase"] == "grpo"] == [1, 2, 3]
    assert set(json.loads((run / "evaluation.json").read_text())) == {"primed", "final"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("config.toml", "seed = 0", "seed = 1"), ("evaluation.json", '"episodes": 32', '"episodes": 33')],
)
def test_a_changed_digit_in_a_runs_small_files_is_named(
    whole: Path, tiny: RunConfig, tmp_path: Path, file: str, old: str, new: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    text = (run / file).read_text()
    assert old in text
    (run / file).write_text(text.replace(old, new, 1))
    with pytest.raises(RunError, match=rf"{file}.* checksum differs\)"):
        train(tiny, run, resume=True)
    with pytest.raises(ReportError, match=rf"{file}.* checksum differs\)"):
        read_run(run)
