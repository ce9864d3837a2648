"""A real CalDAV server beside ours."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest


@pytest.fixture(scope="module")
def radicale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Radicale, which ends with the tests, however they end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("radicale")
    options = {
        "server-hosts": f"127.0.0.1:{port}",
        "storage-filesystem-folder": str(folder),
        "auth-type": "none",
        "web-type": "none",
        "logging-level": "error",
    }
    # Its standard input is a pipe of ours: the program that starts it ends it when the pipe breaks.
    program = (
        "import os, signal, sys, threading\n"
        "def watch():\n"
        "    sys.stdin.buffer.read()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "from radicale.__main__ import run\n"
        "run()\n"
    )
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-c", program, *(f"--{name}={value}" for name, value in options.items())],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env={**os.environ, "RADICALE_CONFIG": ""},
    )
    try:
        url = f"http://127.0.0.1:{port}/ludus/"
        for _ in range(200):
            try:
                httpx.request("PROPFIND", url, auth=("ludus", ""), trust_env=False)
                break
            except httpx.ConnectError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        else:
            pytest.fail("Radicale does not answer: " + (folder / "log").read_text())
        yield url
    finally:
        server.kill()
        server.wait()
        log.close()
