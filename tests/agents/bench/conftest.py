"""An answering server, a separate cache for each test, and the output of runs."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.bench.result import Result
from ludus.agents.bench.run import Listener


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@dataclass
class Server:
    """Answers every chat with a number that follows from the request; counts requests."""

    status: int = 200
    seconds: float = 0.0
    asked: list[tuple[int, str]] = field(default_factory=list)
    """Seed and last message of each request."""
    most: int = 0
    """The maximum number of requests in flight at once."""
    url: str = ""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((body["seed"], body["messages"][-1]["content"]))
        text = f"<answer>{body['seed'] % 7}</answer>"
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 20, "completion_tokens": 5}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def server() -> Iterator[Server]:
    state, flying, lock = Server(), [0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._send({"data": [{"id": "tiny"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                flying[0] += 1
                state.most = max(state.most, flying[0])
                answer = state.answer(body)
            time.sleep(state.seconds)
            with lock:
                flying[0] -= 1
            self._send(answer)

        def _send(self, value: dict[str, Any]) -> None:
            content = json.dumps(value if state.status == 200 else {"error": {"message": "no"}}).encode()
            self.send_response(state.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """An interrupted client is not an error."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        http.shutdown()


class Heard(Listener):
    """What a run told."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.results: list[Result] = []
        self.notes: list[str] = []
        self.who: list[str] = []
        self._stop_after = stop_after

    def begun(self, who: str, *_: Any) -> None:
        self.who.append(who)

    def played(self, result: Result) -> None:
        self.results.append(result)
        if len(self.results) == self._stop_after:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def heard() -> type[Heard]:
    return Heard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
