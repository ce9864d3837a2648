"""The kernels' benchmarks run from end to end on a CPU, at a size whose figures mean nothing."""

import dataclasses
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

INF, NAN = math.inf, math.nan
FOLDER = Path(__file__).parents[1] / "benchmarks" / "kernels"
OPERATORS = (
    "logprob_entropy",
    "linear_logprob",
    "support_logprob",
    "grpo_loss",
    "group_advantage",
    "add_rmsnorm",
    "swiglu",
    "rope",
)


@pytest.fixture
def load(monkeypatch):
    """Import a script of the folder, as a run of it would, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)  # it takes ten seconds an operator
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (
            getattr(sys.modules[name], "__file__", None)
            and FOLDER in Path(sys.modules[name].__file__).parents
        ):
            del sys.modules[name]


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_contestant_is_measured_and_agrees(load, tmp_path, operator):
    report, benchmark = load("report"), load(operator).BENCHMARK
    results = load("benchmark").run(benchmark, load("shapes").SHAPES["tiny"], torch.device("cpu"))
    report.show(results)
    report.write(results, tmp_path)
    written = json.loads((tmp_path / f"kernels-{operator}.json").read_text())
    assert written["device"] == "CPU"
    assert all(target["met"] is None for target in written["targets"])
    assert any("ludus | eager" in line for line in load("tables").lines(written))
    for cell in written["cells"]:
        if cell["phase"] != "replayed":
            assert cell["error"] is None
            assert cell["seconds"] > 0
    apart = {row["contestant"]: row for row in written["differences"]}
    assert {"ludus", "eager", "torch.compile"} <= set(apart)
    for number in (x for x in apart["eager"].values() if isinstance(x, float)):
        assert number < 1e-5


def test_a_failure_is_the_text_of_its_cell(load):
    broken = load("swiglu")

    def fails(gate, up):
        raise RuntimeError("no such kernel\nand more")

    benchmark = dataclasses.replace(broken.BENCHMARK, ours=fails)
    results = load("benchmark").run(benchmark, load("shapes").SHAPES["tiny"], torch.device("cpu"))
    errors = {cell["contestant"]: cell["error"] for cell in results["cells"]}
    assert errors["ludus"] == "RuntimeError: no such kernel"
    assert errors["eager"] is None


def test_targets_are_judged(load):
    benchmark, report = load("benchmark"), load("report")
    fast = benchmark.Target("time, us", lambda table: None, limit=15e-6, unit=1e-6)
    assert report.judged(fast, None)["met"] is None
    assert report.judged(fast, 14e-6)["met"] is True
    assert report.judged(fast, 16e-6)["met"] is False
    share = benchmark.Target("share", lambda table: None, limit=0.9, at_least=True)
    assert report.judged(share, 0.89)["met"] is False


def test_the_table_finds_a_cell_by_its_size(load):
    benchmark = load("benchmark")
    cells = [
        benchmark.Cell("ludus", 1024, 896, "forward", seconds=2.0, fraction=0.9),
        benchmark.Cell("ludus", 8192, 896, "forward", seconds=3.0, fraction=0.8),
        benchmark.Cell("ludus", 8192, 2048, "forward", error="OutOfMemoryError: …"),
    ]
    table = benchmark.Table(cells)
    assert table.value("seconds", "forward", tokens=8192, hidden=896) == 3.0
    assert table.value("seconds", "forward", tokens=8192, hidden=2048) is None
    assert table.smallest("fraction", ("forward",), hidden=896) == 0.8
    assert table.smallest("fraction", ("forward",), tokens=8192) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_measured(tmp_path):
    command = [sys.executable, str(FOLDER / "swiglu.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no GPU" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_contestants_on_two_cores_compute_the_same(load):
    script = load("linear_logprob_cpu")
    problem = script.inputs(6, 64)
    ours, eager = (script.step(script.operator(name), problem) for name in ("ludus", "eager"))
    assert script.disagreement(ours, eager) < 1e-5


def test_the_targets_on_two_cores_are_judged(load):
    script = load("linear_logprob_cpu")
    rows = script.judge(
        [
            {"contestant": "ludus", "seconds": 0.5, "peak_mib": 20.0},
            {"contestant": "eager", "seconds": 1.0, "peak_mib": 100.0},
            {"contestant": "trl", "error": "no memory"},
        ]
    )
    assert [row["met"] for row in rows] == [True, False, None]


@pytest.mark.parametrize(
    ("got", "expected", "verdict"),
    [
        ([1.0, -INF], [1.0, -INF], "right"),
        ([1.0, NAN], [1.0, 2.0], "NaN"),
        ([INF, 1.0], [0.0, 1.0], "+inf"),
        ([-1e30, 1.0], [-INF, 1.0], "finite instead of infinite"),
        ([1.001, 5.0], [1.0, 5.0], "off by 0.001"),
    ],
)
def test_verdicts_on_peers(load, got, expected, verdict):
    assert load("peers_adversarial").verdict(torch.tensor(got), torch.tensor(expected)) == verdict


def test_every_committed_result_makes_a_table(load):
    for path in load("report").RESULTS.glob("kernels-*.json"):
        head, rule, *rows = load("tables").lines(json.loads(path.read_text()))
        assert head.count("|") == rule.count("|") == rows[0].count("|")
