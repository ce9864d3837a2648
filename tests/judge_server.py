"""A judge behind a real socket, for tests of what is asked of judges and made of their verdicts."""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Verdict = Callable[[str], str]
"""From what a judge reads to what it answers."""


class JudgeServer:
    """A server with OpenAI's interface whose model is a function of what it reads."""

    def __init__(self, verdict: Verdict) -> None:
        self.asked: list[dict[str, Any]] = []
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _send(self, value: dict[str, Any]) -> None:
                content = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self._send({"object": "list", "data": [{"id": "m", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                judge.asked.append(body)
                said = verdict(body["messages"][1]["content"])
                finish = "length" if said.endswith("…") else "stop"
                message = {"role": "assistant", "content": said}
                choice = {"index": 0, "message": message, "finish_reason": finish}
                self._send({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def candidates(content: str) -> list[str]:
    """The fenced replies, as a judge that respects fences reads them."""
    fenced = re.finditer(r"\[([0-9a-f]{16}) reply begins\]\n(.*?)\n\[\1 reply ends\]", content, re.DOTALL)
    return [found[2] for found in fenced]
