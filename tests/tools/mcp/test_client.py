"""The client of MCP servers, with real servers, good and bad, as processes and on a port."""

import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ludus.tools.errors import ToolError, ToolFault, UserError
from ludus.tools.mcp import McpServer

SERVERS = str(Path(__file__).with_name("servers.py"))
PATIENCE_S = 30.0


def command(kind: str, *words: object) -> list[str]:
    return [sys.executable, SERVERS, kind, *map(str, words)]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A good server on a port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    process = subprocess.Popen(command("good", number), stderr=subprocess.DEVNULL)
    try:
        wait_for(number, process)
        yield number
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not come up")


@pytest.fixture(scope="module", params=["process", "port"])
def server(request: pytest.FixtureRequest) -> Iterator[McpServer]:
    if request.param == "process":
        made = McpServer(command("good"), timeout_s=PATIENCE_S)
    else:
        made = McpServer(url=f"http://127.0.0.1:{request.getfixturevalue('port')}/mcp", timeout_s=PATIENCE_S)
    with made:
        yield made


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


def test_its_tools_are_tools(server: McpServer) -> None:
    tools = {tool.name: tool for tool in server.tools}
    add = tools["add"]
    assert add.description == "Add two numbers."
    assert add.openai["function"]["parameters"]["required"] == ["a"]
    assert add.function(**add.read('{"a": 2}')) == "3"
    assert add.function(**add.read({"a": 2, "b": 40})) == "42"
    with pytest.raises(ToolError, match="'a'"):
        add.read({"b": 1})
    with pytest.raises(ToolError, match="'c'"):
        add.read({"a": 1, "c": 1})


def test_what_a_tool_refuses_is_the_models_to_read(server: McpServer) -> None:
    with pytest.raises(ToolError, match="no such drawer: 'x'"):
        server.call("fail")
    with pytest.raises(ToolError, match="no_such_tool"):
        server.call("no_such_tool")
    with pytest.raises(ToolError, match=r"(?i)valid"):
        server.call("add", {"a": "much"})
    assert server.call("add", {"a": 1}) == "2"


def test_images_are_parts_of_a_message(server: McpServer) -> None:
    text, image = server.call("draw")
    assert text == {"type": "text", "text": "a dot"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize("gone", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_server_that_changes_its_tools_is_a_fault(gone: bool) -> None:
    words = r"changed its tools \('add' is gone, 'grown' is new\)" if gone else "'grown' is new"
    with McpServer(command("good"), timeout_s=PATIENCE_S) as server:
        server.call("grow", {"gone": gone})
        with pytest.raises(ToolFault, match=words):
            server.call("add", {"a": "wrong"})
        # A new process has the tools that it began with.
        assert server.open().call("add", {"a": 1}) == "2"


def test_a_server_that_dies_in_a_call_is_a_fault_with_its_last_words() -> None:
    with McpServer(command("good"), timeout_s=PATIENCE_S) as server:
        with pytest.raises(ToolFault, match=r"die: it ended.*Killed: out of memory"):
            server.call("die")
        with pytest.raises(ToolFault, match="add: it ended"):
            server.call("add", {"a": 1})
        assert server.open().call("add", {"a": 1}) == "2"


def test_a_server_on_a_port_that_dies_in_a_call_is_a_fault() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    process = subprocess.Popen(command("good", number), stderr=subprocess.DEVNULL)
    try:
        wait_for(number, process)
        with McpServer(url=f"http://127.0.0.1:{number}/mcp", timeout_s=5.0) as server:
            began = time.monotonic()
            with pytest.raises(ToolFault, match=f"127.0.0.1:{number}/mcp: die: "):
                server.call("die")
            with pytest.raises(ToolFault, match="add: "):
                server.call("add", {"a": 1})
            assert time.monotonic() - began < 60
    finally:
        process.kill()
        process.wait()


def test_a_server_that_hangs_is_a_fault_within_the_limit(port: int) -> None:
    with McpServer(url=f"http://127.0.0.1:{port}/mcp", timeout_s=3.0) as server:
        began = time.monotonic()
        with pytest.raises(ToolFault, match="hang: no answer within 3 s"):
            server.call("hang")
        assert 3 <= time.monotonic() - began < 60
        assert server.call("add", {"a": 1}) == "2"


def test_garbage_is_a_fault_that_shows_it() -> None:
    with pytest.raises(ToolFault, match=r"no answer within 0\.5 s; it said: Welcome to the garbage server"):
        McpServer(command("garbage"), timeout_s=0.5).open()


def test_odd_answers_are_content_that_can_be_passed_on_or_an_error() -> None:
    with McpServer(command("odd"), timeout_s=1) as server:
        assert len(server.tools) > 10
        for tool in server.tools:
            try:
                content = tool.function(**tool.read({"self": "x"}))
            except (ToolError, ToolFault) as error:
                str(error).encode()
            else:
                json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
                assert tool.name != "wrong_image" or content == "[image]"


def test_a_server_that_refuses_to_list_its_tools_is_a_fault() -> None:
    with pytest.raises(ToolFault, match=r"tools/list: .*out of order"):
        McpServer(command("odd", "refuses"), timeout_s=PATIENCE_S).open()


def test_pages_without_end_are_a_fault_within_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(ToolFault, match="tools/list"):
        McpServer(command("odd", "endless"), timeout_s=1).open()
    assert time.monotonic() - began < 30


def test_a_server_that_does_not_start_is_a_fault_with_its_last_words() -> None:
    with pytest.raises(ToolFault, match=r"connecting.*No module named 'no_such_module'"):
        McpServer(command("broken"), timeout_s=PATIENCE_S).open()


def test_no_process_is_left_of_a_server_that_heeds_nothing(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(ToolFault, match="connecting: no answer within 1 s"):
        McpServer(command("silent", pids), timeout_s=1.0).open()
    assert time.monotonic() - began < 60
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


def test_no_process_is_left_of_a_server_that_nobody_closes() -> None:
    before = children_with(SERVERS)
    server = McpServer(command("good"), timeout_s=PATIENCE_S).open()
    assert len(children_with(SERVERS)) == len(before) + 1
    del server
    gc.collect()
    assert children_with(SERVERS) == before


def test_no_process_is_left_when_the_program_ends(tmp_path: Path) -> None:
    program = (
        "from ludus.tools.mcp import McpServer; import sys\n"
        f"server = McpServer({command('good')!r}).open()\n"
        "print(server.call('add', {'a': 1}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def children_with(word: str) -> list[int]:
    """Processes of ours whose command line has the word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == os.getpid() and word in line:
            found.append(int(folder.name))
    return sorted(found)


def test_nothing_behind_a_url_is_a_fault() -> None:
    with pytest.raises(ToolFault, match=r"http://127\.0\.0\.1:9/mcp: connecting: ConnectError"):
        McpServer(url="http://127.0.0.1:9/mcp", timeout_s=PATIENCE_S).open()


def test_a_web_site_is_no_mcp_server() -> None:
    class Site(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = b"<h1>hello</h1>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    site = HTTPServer(("127.0.0.1", 0), Site)
    Thread(target=site.serve_forever, daemon=True).start()
    try:
        with pytest.raises(ToolFault, match=r"connecting: .*text/html"):
            McpServer(url=f"http://127.0.0.1:{site.server_port}/", timeout_s=3.0).open()
    finally:
        site.shutdown()


def test_a_missing_program_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="no program 'no-such-program'"):
        McpServer(["no-such-program"]).open()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"command": ["a"], "url": "http://b"},
        {"command": "python server.py"},
        {"url": "http://b", "own_folder": True},
    ],
)
def test_a_command_or_a_url_is_needed(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="McpServer"):
        McpServer(**arguments)  # type: ignore[arg-type]


def test_who_calls_before_opening_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"call open\(\)"):
        McpServer(command("good")).call("add")
