"""Exports: what is in them, and that Inspect AI and `datasets` read them."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ludus.agents.bench.dataset import SCHEMA, export_dataset
from ludus.agents.bench.directory import BenchError, Folder
from ludus.agents.bench.inspect_log import export_inspect
from ludus.agents.bench.journal import encode
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Plan, bench
from ludus.agents.episode import StopReason

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def played(tmp_path: Path) -> Folder:
    """Each task twice: successes, a failure with its reason, a fault, a refusal, odd calls."""
    folder = bench(
        Plan("ludus/Arithmetic-v0", PlayerChoice("scripted:oracle"), 3, 2), tmp_path / "run"
    ).folder
    first, second, third, *others = folder.episodes()
    calls = [
        {"id": "a", "type": "function", "function": {"name": "look_up", "arguments": '{"q": "x"}'}},
        {"id": "b", "type": "function", "function": {"name": "look_up", "arguments": '{"q": '}},
        {"id": "c", "type": "function"},
    ]
    reply: Any = {"role": "assistant", "content": "", "tool_calls": calls}
    result: Any = {"role": "tool", "tool_call_id": "a", "content": "Error: nothing"}
    turn = replace(
        first.turns[0], reply=reply, prompt_tokens=100, cached_tokens=40, completion_tokens=7,
        vendor={"reasoning_content": "hm"}, finish="length",
    )  # fmt: skip
    episodes = [
        replace(
            first, turns=(turn,), final_observation=[result], success=False, expected="4", failure="no 4"
        ),
        replace(second, stop=StopReason.REFUSED, success=False, fault="moderated", turns=()),
        replace(third, stop=StopReason.ENGINE_FAULT, success=False, fault="gone"),
        *others,
    ]
    folder.journal.write_bytes(b"".join(map(encode, episodes)))
    return folder


def test_an_inspect_log_has_every_episode_with_its_score_or_its_error(played: Folder, tmp_path: Path) -> None:
    (path,) = export_inspect(played, tmp_path / "logs")
    log = json.loads(path.read_text())
    assert log["eval"]["dataset"]["samples"] == 3
    assert log["eval"]["config"] == {"epochs": 2}
    failed, refused, broken, *rest = log["samples"]
    assert failed["scores"]["success"] == {"value": 0, "answer": None, "explanation": "no 4"}
    assert failed["target"] == "4"
    assert failed["model_usage"]["scripted:oracle"]["input_tokens"] == 60
    said = failed["output"]["choices"][0]["message"]
    assert said["content"][0] == {"type": "reasoning", "reasoning": "hm"}
    good, bad, odd = said["tool_calls"]
    assert (good["function"], good["arguments"]) == ("look_up", {"q": "x"})
    assert bad["parse_error"].startswith("not JSON")
    assert odd["function"] == "null"
    assert failed["messages"][-1]["function"] == "look_up"
    assert failed["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert (refused["scores"], refused["error"]["message"]) == ({}, "refused by the server: moderated")
    assert broken["error"]["message"] == "fault of the engine: gone"
    assert [(sample["epoch"], sample["scores"]["success"]["value"]) for sample in rest] == [
        (2, 1),
        (1, 1),
        (2, 1),
    ]
    (success, _) = log["results"]["scores"]
    assert (success["scored_samples"], success["unscored_samples"]) == (4, 2)


def test_a_dataset_has_a_row_for_every_episode_and_null_where_there_is_no_score(
    played: Folder, tmp_path: Path
) -> None:
    path, card = export_dataset(played, tmp_path / "data")
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert [row["success"] for row in rows] == [False, None, None, True, True, True]
    assert rows[0]["failure"] == "no 4"
    assert json.loads(rows[0]["messages"][-2]["tool_calls"])[0]["id"] == "a"
    assert "config_name: Arithmetic-v0" in card.read_text()
    assert played.tasks.digest in card.read_text()


def test_an_export_overwrites_nothing(played: Folder, tmp_path: Path) -> None:
    for export in (export_inspect, export_dataset):
        with pytest.raises(BenchError, match="not an empty folder"):
            export(played, played.path)


# --- read by the tools themselves


@pytest.fixture(scope="module")
def environment() -> Path:
    """An environment with Inspect AI and datasets."""
    found = os.environ.get("LUDUS_TEST_INSPECT", "")
    if not found:
        pytest.skip('needs Inspect AI and datasets: peer=$(.ci/peers.sh start inspect); eval "$peer"')
    return Path(found)


READ = """
import json, sys
from inspect_ai.log import list_eval_logs, read_eval_log
found = []
for place in list_eval_logs(sys.argv[1]):
    header = read_eval_log(place, header_only=True)
    log = read_eval_log(place)
    success = log.results.scores[0].metrics["mean"].value
    found.append([header.eval.task, len(log.samples), success, sum(s.error is not None for s in log.samples)])
print(json.dumps(sorted(found)))
"""

LOAD = """
import json, sys
import datasets
folder, cache = sys.argv[1:]
found = []
for name in datasets.get_dataset_config_names(folder):
    rows = datasets.load_dataset(folder, name, split="test", cache_dir=cache)
    found.append([name, rows.num_rows, rows["success"][:3], rows[0]["messages"][1]["role"]])
print(json.dumps(sorted(found)))
"""


def told(program: str, environment: Path, tmp_path: Path, *words: Path) -> Any:
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [environment / "python", "-c", program, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **offline},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_inspect_reads_its_logs(played: Folder, environment: Path, tmp_path: Path) -> None:
    export_inspect(played, tmp_path / "logs")
    assert told(READ, environment, tmp_path, tmp_path / "logs") == [["ludus/Arithmetic-v0", 6, 2 / 3, 2]]


def test_datasets_loads_its_folder(played: Folder, environment: Path, tmp_path: Path) -> None:
    export_dataset(played, tmp_path / "data")
    loaded = told(LOAD, environment, tmp_path, tmp_path / "data", tmp_path / "cache")
    assert loaded == [["Arithmetic-v0", 6, [False, None, None], "user"]]


def test_inspects_own_viewer_shows_the_log(played: Folder, environment: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import chromium
    finally:
        sys.path.remove(str(BENCHMARKS))
    if chromium.find() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    (path,) = export_inspect(played, tmp_path / "logs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [environment / "inspect", "view", "start", "--log-dir", path.parent, "--port", str(port)]
    viewer = subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        with chromium.chromium() as page:
            page.send("Page.navigate", url=f"http://127.0.0.1:{port}/#/logs/{path.name}")
            page.wait_for("document.body?.innerText.includes('6 rows')", 60)
            shown = page.evaluate("document.body.innerText")
    finally:
        viewer.terminate()
        viewer.wait(30)
    assert "ludus/Arithmetic-v0" in shown
    assert "reward" in shown
