"""`ludus scaling`: a figure, its numbers and a report; called again; bad input in one line."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ludus.agents.models import load_model
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.reward_model import SEPARATOR
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.scaling.curves import Curve, Point
from ludus.agents.scaling.run import Plan, Settings, scaling
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.agents.statistics import NOTHING, Interval
from ludus.cli.scaling.progress import live
from ludus.report.scaling.page import write_scaling_report
from ludus.trainers.run.policy import save_policy

Run = Callable[..., Any]
ENV = "ludus/Arithmetic-v0"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing."""
    return build_small_model(
        [EnvironmentSpec(ENV)],
        SmallModelShape(hidden=16, layers=1, heads=1, kv_heads=1, head_dim=16, intermediate=16),
        cache_directory=tmp_path_factory.mktemp("models"),
    )


@pytest.fixture(scope="module")
def process(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A process model with random weights, whose steps end with a blank."""
    loaded = load_model(model, head="reward")
    torch.nn.init.normal_(loaded.model.score.weight)
    setattr(loaded.model.config, SEPARATOR, " ")
    folder = tmp_path_factory.mktemp("process") / "model"
    save_policy(loaded, folder)
    return folder


def test_a_measurement_has_a_table_a_figure_and_a_report(
    run: Run, model: Path, process: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scaling"
    words = ["scaling", ENV, "--model", model, "--tasks", 2, "--samples", 3, "--max-tokens", 12, "--out", out]
    less = ["--mcts", 2, "--beam", 1, "--revisions", 1]
    result = run(*words, *less)
    assert result.code == 0, result.err
    assert "beam search left out: a reply earns nothing before it is whole" in result.out
    assert re.search(r"best of n by reward \* +n = 1 +0\.000 +0\.000 to 0\.000 ", result.out)
    found = json.loads((out / "results.json").read_text())
    curves = {curve["name"]: curve for curve in found["curves"]}
    assert {"single sample", "best of n by reward", "tree search by reward", "revision"} < curves.keys()
    single, best = curves["single sample"]["points"], curves["best of n by reward"]["points"]
    assert best[-1]["sampled"] == pytest.approx(3 * single[0]["sampled"])
    revised = curves["revision"]["points"]
    assert revised[0]["sampled"] < revised[1]["sampled"]
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert "var(--blue)" in page or "var(--ochre)" in page
    assert not re.search(
        r"(src|href)=\"(?!#|data:)", page.partition("<body>")[2].replace('xlink:href="#', "")
    )

    again = run(*words, *less, "--samples", 4, "--process", process)
    assert again.code == 0, again.err
    assert "samples: 8, 6 already there ..." in again.err
    curves = {curve["name"]: curve for curve in json.loads((out / "results.json").read_text())["curves"]}
    for name in ("best of n", "beam search", "tree search"):
        assert all(point["judged"] > 0 for point in curves[f"{name} by process model {process}"]["points"])
    run(*words, "--outcome", process).assert_refused(2, f"--outcome {process}", "give it as --process")


def test_a_scripted_agent_is_a_pool(run: Run, tmp_path: Path) -> None:
    result = run(
        "scaling", ENV, "--model", "scripted:oracle", "--tasks", 2, "--samples", 2, "--out", tmp_path / "x"
    )
    assert result.code == 0, result.err
    assert "beam search and tree search left out: scripted:oracle cannot be continued" in result.out
    assert re.search(r"majority vote +k = 1 +1\.000 .*\n +k = 2 +1\.000 ", result.out)


def test_each_method_has_a_bar(tmp_path: Path) -> None:
    console = Console(force_terminal=True, color_system=None, width=120, file=io.StringIO())
    with live(console) as listener:
        settings = Settings(ENV, {}, "scripted:oracle", 1.0, 9, 0, {}, "")
        scaling(settings, Plan(2, 2), tmp_path / "x", lambda: ScriptedPolicy("oracle"), listener=listener)
        listener.note("a note")
    assert re.search(r"samples .*4/4 .*success 1\.000", console.file.getvalue())  # type: ignore[attr-defined]
    assert "note: a note" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["--tasks", 0], 2, ["--tasks 0"]),
        (["--beam", 2, 0], 2, ["--beam 0"]),
        (["--revisions", -1], 2, ["--revisions -1"]),
        (["--temperature", 0], 2, ["--temperature 0", "the same"]),
        (["--model", "localhost:8000"], 2, ["write http://localhost:8000"]),
        (["--arg", "operand=3"], 2, ["operand"]),
    ],
)
def test_bad_input_is_one_line(
    run: Run, tmp_path: Path, words: list[Any], code: int, names: list[str]
) -> None:
    given = words if "--model" in words else ["--model", "scripted:oracle", *words]
    run("scaling", ENV, *given, "--out", tmp_path / "x").assert_refused(code, *names)
    assert not (tmp_path / "x").exists()


def test_another_measurement_in_the_folder_is_refused(run: Run, tmp_path: Path) -> None:
    words = [
        "scaling",
        ENV,
        "--model",
        "scripted:random",
        "--tasks",
        1,
        "--samples",
        1,
        "--out",
        tmp_path / "x",
    ]
    assert run(*words).code == 0
    run(*words, "--temperature", 0.5).assert_refused(
        1, "holds another measurement", "temperature 1.0, not 0.5"
    )


def test_the_headline_takes_no_start_of_revisions_for_a_gain(tmp_path: Path) -> None:
    def point(setting: str, success: float, sampled: float) -> Point:
        return Point(setting, Interval(success, 0.0, 1.0), sampled, 1.0, 0.0, NOTHING)

    revised = (point("0 revisions", 0.5, 10), point("1 revision", 0.4, 30))
    drawn = [
        Curve("single sample", "single", "", False, 6, (point("1 sample", 0.3, 10),)),
        Curve("revision", "revision", "", False, 6, revised),
    ]
    settings = Settings(ENV, {"operations": ["add"]}, "runs/mine", 1.0, 48, 2**32, {}, "0")
    page = write_scaling_report(settings, Plan(6, 8), drawn, tmp_path).read_text()
    assert "From 30.0% for one sample to 40.0% with revision, 1 revision, at 3.0 times the tokens" in page
    assert "[add]" in page
