"""MCP servers for the tests, real ones: `python servers.py KIND [PORT]`."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

KIND = sys.argv[1]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


def good() -> None:
    from mcp.server.mcpserver import Image, MCPServer

    server = MCPServer("good")
    kept: list[str] = []

    @server.tool()
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def remember(state: str) -> str:
        """Remember a word."""
        kept.append(state)
        return " ".join(kept)

    @server.tool()
    def fail() -> str:
        """Fail."""
        from mcp.server.mcpserver.exceptions import ToolError

        raise ToolError("no such drawer: 'x'")

    @server.tool(structured_output=False)
    def draw() -> list[object]:
        """Draw."""
        import base64

        return ["a dot", Image(data=base64.b64decode(PNG), format="png")]

    @server.tool()
    def die() -> str:
        """Die."""
        print("Killed: out of memory", file=sys.stderr, flush=True)
        os._exit(3)

    @server.tool()
    def hang() -> str:
        """Never answer."""
        time.sleep(3600)
        return ""

    @server.tool()
    def grow(gone: bool = False) -> str:
        """Offer another set of tools."""
        server.add_tool(hang, name="grown")
        if gone:
            server.remove_tool("add")
        return "grown"

    @server.tool()
    def now() -> str:
        """Never say the same."""
        return str(time.monotonic_ns())

    if len(sys.argv) > 2:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("stdio")


TEXT, INTEGER = {"type": "string"}, {"type": "integer"}


def plain() -> None:
    """Some of the tools of `good`, for environments, which start it dozens of times: it does without the SDK,
    whose import takes more than a second."""
    kept: list[str] = []

    def remember(state: str) -> str:
        kept.append(state)
        return " ".join(kept)

    def fail() -> str:
        raise Refusal("Error executing tool fail: no such drawer: 'x'")

    def die() -> str:
        print("Killed: out of memory", file=sys.stderr, flush=True)
        os._exit(3)

    offer(
        {
            "add": (lambda a, b=1: str(a + b), {"a": INTEGER, "b": {**INTEGER, "default": 1}}),
            "remember": (remember, {"state": TEXT}),
            "fail": (fail, {}),
            "die": (die, {}),
            "now": (lambda: str(time.monotonic_ns()), {}),
        }
    )


def notes() -> None:
    """Keeps notes in each of the files that the environment names, as the reference server for a memory does
    in one; without the SDK, as `plain`."""
    from pathlib import Path

    files = [Path(file).expanduser() for file in os.environ["NOTES"].split(os.pathsep)]

    def kept() -> list[str]:
        return sorted({note for file in files if file.exists() for note in file.read_text().splitlines()})

    def write(note: str) -> str:
        if note in kept():
            return "nothing new"
        for file in files:
            with file.open("a") as lines:
                lines.write(f"{note}\n")
        return f"{len(kept())} in all"

    offer(
        {
            "write": (write, {"note": TEXT}),
            "read_notes": (lambda: ", ".join(kept()) or "none", {}),
            "where": (os.getcwd, {}),
        }
    )


def _end_with_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)


def garbage() -> None:
    """Answers every line with something other than MCP."""
    for _ in sys.stdin:
        print("Welcome to the garbage server", flush=True)


def silent() -> None:
    """Says nothing, and ignores the end of its input and SIGTERM; it has a child."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    with open(sys.argv[2], "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    time.sleep(3600)


def broken() -> None:
    """Ends with a traceback before it has answered."""
    import no_such_module  # noqa: F401


ANSWERS = {
    "nothing": {},
    "no_content": {"content": None},
    "content_is_text": {"content": "12"},
    "unknown_content": {"content": [{"type": "hologram", "beam": 1}]},
    "half_characters": {"content": [{"type": "text", "text": "a\ud800b"}]},
    "control_characters": {"content": [{"type": "text", "text": "a\x00\x0b\x1bb"}]},
    "wrong_image": {"content": [{"type": "image", "data": "not base64", "mimeType": "image/png"}]},
    "odd_structure": {"content": [], "structuredContent": {"x": [1, None, {"y": 1e308}]}},
    "a_list": [1, 2],
    "null": None,
    "fails_in_silence": {"content": [], "isError": True},
    "fails_in_half_characters": {"content": [{"type": "text", "text": "\udfff"}], "isError": True},
}
"""What the tools of the odd server answer, by name."""

SCHEMA = {"type": "object", "properties": {"self": {"type": ["string", 7]}}}


def odd() -> None:
    """Follows the protocol's rules of form, and no others."""

    def listed(_: dict[str, Any]) -> dict[str, object]:
        if sys.argv[2:] == ["refuses"]:
            raise OSError("out of order")
        if sys.argv[2:] == ["endless"]:
            return {"tools": [], "nextCursor": "again"}
        return {"tools": [{"name": name, "inputSchema": SCHEMA} for name in ANSWERS]}

    speak({"tools/list": listed, "tools/call": lambda params: ANSWERS[params["name"]]})


class Refusal(Exception):
    """A tool refuses, in words for the model."""


def offer(tools: dict[str, tuple[Callable[..., str], dict[str, Any]]]) -> None:
    """Serve tools that answer with a text, each with the properties of its schema."""

    def listed(_: dict[str, Any]) -> dict[str, object]:
        schemas = {
            name: {
                "type": "object",
                "properties": properties,
                "required": [key for key, schema in properties.items() if "default" not in schema],
            }
            for name, (_, properties) in tools.items()
        }
        return {"tools": [{"name": name, "inputSchema": schema} for name, schema in schemas.items()]}

    def call(params: dict[str, Any]) -> dict[str, object]:
        function, _ = tools[params["name"]]
        try:
            text, is_error = function(**params.get("arguments") or {}), False
        except Refusal as refusal:
            text, is_error = str(refusal), True
        return {"content": [{"type": "text", "text": text}], "isError": is_error}

    speak({"tools/list": listed, "tools/call": call})


def speak(methods: dict[str, Callable[[dict[str, Any]], object]]) -> None:
    """Answer what comes in, method by method; an OSError becomes an error of the protocol."""

    def initialize(params: dict[str, Any]) -> dict[str, object]:
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": KIND, "version": "0"},
        }

    known = {"initialize": initialize, **methods}
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] in known:
            try:
                answer["result"] = known[asked["method"]](asked.get("params") or {})
            except OSError as error:
                answer["error"] = {"code": -32603, "message": str(error)}
        else:
            answer["error"] = {"code": -32601, "message": "no such method"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    {
        "good": good,
        "plain": plain,
        "notes": notes,
        "odd": odd,
        "garbage": garbage,
        "silent": silent,
        "broken": broken,
    }[KIND]()
