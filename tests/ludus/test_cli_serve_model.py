"""`ludus serve model`: the real command, what it refuses, and that a benchmark of it is one of the model."""

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ludus.agents.bench.journal import read_journal
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model

from .served import served

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = SmallModelShape(hidden=16, layers=1, heads=1, kv_heads=1, head_dim=16, intermediate=16)
    specs = [EnvironmentSpec("ludus/Arithmetic-v0")]
    return build_small_model(specs, shape, cache_directory=tmp_path_factory.mktemp("models"))


def test_a_benchmark_by_the_server_is_one_of_the_model(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one that asks for a key; Ctrl-C ends it while it answers."""
    suite = ("bench", "ludus/Arithmetic-v0", "-n", 6, "--max-tokens", 16)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with served("model", folder, "--token", "secret", ending=signal.SIGINT) as url:
        assert run(*suite, "--model", url, "--out", tmp_path / "served").code == 0
        refused = httpx.get(f"{url}/models")
        assert (refused.status_code, "Bearer" in refused.json()["error"]["message"]) == (401, True)
        key = {"authorization": "Bearer secret"}
        name = httpx.get(f"{url}/models", headers=key).json()["data"][0]["id"]
        assert name == folder.name
        asked = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "stream": True, "n": 8}
        client = httpx.Client(headers=key, timeout=60)
        answer = client.send(client.build_request("POST", f"{url}/chat/completions", json=asked), stream=True)
        next(answer.iter_lines())
    client.close()
    assert run(*suite, "--model", folder, "--out", tmp_path / "direct").code == 0
    served_ones, direct_ones = (
        sorted(
            (episode.seed, episode.success, [(turn.reward, turn.reply) for turn in episode.turns])
            for episode in read_journal(tmp_path / name / "journal.jsonl")
        )
        for name in ("served", "direct")
    )
    assert len(served_ones) == 6
    assert served_ones == direct_ones


def test_a_port_in_use_is_one_line(run: Run, folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = run("serve", "model", folder, "--port", port)
    refused.assert_refused(1, f"127.0.0.1:{port}", "in use", "--port")


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (("nowhere/at/all",), 1, ("nowhere/at/all",)),
        (("http://localhost:1/v1",), 2, ("http://localhost:1/v1", "run")),
        (("scripted:oracle",), 2, ("scripted:oracle",)),
        (("x", "--concurrency", "0"), 2, ("--concurrency 0",)),
        (("x", "--max-tokens", "0"), 2, ("--max-tokens 0",)),
        (("x", "--written-calls", "auto"), 2, ("--written-calls auto", "hermes")),
    ],
)
def test_what_cannot_be_served_is_one_line(
    run: Run, words: tuple[str, ...], code: int, names: tuple[str, ...]
) -> None:
    run("serve", "model", *words, "--port", 0).assert_refused(code, *names)


def test_a_missing_extra_is_one_line(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "ludus.tools.services.serve", raising=False)
    run("serve", "model", folder).assert_refused(1, "uvicorn", "ludus[serve]")
