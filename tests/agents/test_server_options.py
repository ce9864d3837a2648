"""What a user may set for a server: headers, queries, keys, certificates, a text of one's own."""

import datetime
import ipaddress
import json
import pickle
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Plan, bench
from ludus.agents.chat_policy import ChatPolicy
from ludus.agents.choose import choose_policy
from ludus.agents.engines.options import ServerOptions
from ludus.agents.engines.server import OpenAIServer
from ludus.agents.episode import Episode
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.written_calls import read_any
from ludus.cli import main
from ludus.envs.chat import assistant
from ludus.tools.errors import UserError

ARITHMETIC = EnvironmentSpec("ludus/Arithmetic-v0")
SECRET = "secret-0123456789"


@dataclass
class Served:
    url: str = ""
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    """Target, headers with names in lower case, and JSON of each request."""
    status: int = 200

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.requests if body is not None]


def served(certificate: tuple[Path, Path] | None = None) -> Iterator[Served]:
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._answer(None, {"data": [{"id": "m"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            message = {"role": "assistant", "content": "<answer>7</answer>"}
            self._answer(body, {"choices": [{"message": message, "finish_reason": "stop"}]})

        def _answer(self, body: Any, value: Any) -> None:
            headers = {name.lower(): text for name, text in self.headers.items()}
            state.requests.append((self.path, headers, body))
            if state.status != 200 and body is not None:
                value = {"error": {"message": f"you sent {dict(headers)}"}}
            content = json.dumps(value).encode()
            self.send_response(state.status if body is not None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that does not trust us is no news."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
            scheme = "https"
        state.url = f"{scheme}://127.0.0.1:{http.server_address[1]}/v1"
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        http.shutdown()


@pytest.fixture
def server() -> Iterator[Served]:
    yield from served()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """One that signs itself, for 127.0.0.1, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ours")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    public, private = tmp_path / "ours.pem", tmp_path / "ours.key"
    public.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return public, private


def play(policy: Any, n: int = 1) -> list[Episode]:
    return rollout(policy, ARITHMETIC, [EpisodeStart(seed) for seed in range(n)])


def test_a_certificate_of_ones_own_is_trusted_if_it_is_named(certificate: tuple[Path, Path]) -> None:
    for server in served(certificate):
        with pytest.raises(UserError, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
            OpenAIServer.connect(server.url)
        trusting = OpenAIServer.connect(server.url, ca=certificate[0])
        episodes = play(ChatPolicy(trusting), 3)
        assert not any(episode.is_fault for episode in episodes)
        (distrusting,) = play(ChatPolicy(OpenAIServer(server.url, "m", options=ServerOptions(retries=0))))
        assert "CERTIFICATE_VERIFY_FAILED" in distrusting.fault
    with pytest.raises(UserError, match="holds no certificates"):
        OpenAIServer.connect("https://127.0.0.1:9/v1", ca=certificate[1])


def test_headers_and_the_query_go_with_every_request_and_into_no_record(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MY_KEY", "key-0123456789")
    options = ServerOptions(
        headers={"X-Secret": SECRET}, query={"version": "7", "token": SECRET}, key_variable="MY_KEY"
    )
    assert SECRET not in repr(options).replace(f"'token': '{SECRET}'", "")
    assert pickle.loads(pickle.dumps(options)) == options
    player = PlayerChoice(server.url, server=options)
    bench(Plan(ARITHMETIC.id, player, 2), tmp_path / "run")
    for target, headers, _ in server.requests:
        assert headers["x-secret"] == SECRET
        assert headers["authorization"] == "Bearer key-0123456789"
        assert target.endswith(f"?version=7&token={SECRET}")
    kept = "".join(path.read_text() for path in (tmp_path / "run").glob("*.json*"))
    assert '"X-Secret"' in kept
    assert SECRET not in kept
    assert "key-0123456789" not in kept


def test_a_secret_that_the_server_repeats_is_not_shown(server: Served) -> None:
    server.status = 400
    options = ServerOptions(headers={"x-secret": SECRET}, retries=0)
    with pytest.raises(UserError, match="you sent") as refused:
        play(choose_policy(server.url, server=options))
    assert SECRET not in str(refused.value)


def test_a_text_of_ones_own_stands_before_the_environments(server: Served) -> None:
    (episode,) = play(choose_policy(server.url, system="Be brief."))
    (plain,) = play(choose_policy(server.url))
    first, second = server.bodies
    assert first["messages"][0]["role"] == "system"
    assert first["messages"][0]["content"].startswith("Be brief.")
    assert [m["content"] for m in second["messages"]] == [
        m["content"].removeprefix("Be brief.").lstrip()
        for m in first["messages"]
        if m["content"] != "Be brief."
    ]
    assert episode.turns[0].observation == plain.turns[0].observation


def test_the_command_line_passes_everything_on(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = [
        "--extra", "temperature=", "--extra", "top_k=5", "--extra", 'reasoning={"effort": "low"}',
        "--header", "x-one=a=b", "--query", "version=7", "--system", "Be brief.", "--max-tokens", "99",
        "--concurrency", "2", "--timeout", "30",
    ]  # fmt: skip
    assert main(["eval", ARITHMETIC.id, "--model", server.url, "--episodes", "2", *flags]) == 0
    out = tmp_path / "run"
    words = ["bench", ARITHMETIC.id, "--model", server.url, "-n", "2", "--out", str(out), "--arg", "digits=1"]
    assert main([*words, *flags]) == 0
    assert len(server.bodies) == 4
    for target, headers, body in server.requests:
        if body is not None:
            assert headers["x-one"] == "a=b"
            assert target.endswith("?version=7")
            assert (body["top_k"], body["reasoning"], body["max_tokens"]) == (5, {"effort": "low"}, 99)
            assert "temperature" not in body
    settings = json.loads((out / "bench.json").read_text())["settings"]["options"]
    assert settings == {
        "system": "Be brief.",
        "extra": {"temperature": None, "top_k": 5, "reasoning": {"effort": "low"}},
        "query": {"version": "7"},
        "headers": ["x-one"],
        "arguments": {"digits": 1},
    }
    assert "Arithmetic-v0(digits=1)" in "".join(capsys.readouterr().out.split())
    assert main([*words, *flags, "--extra", "x=1"]) == 1
    assert "options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--extra", "x"], "--extra 'x'"),
        (["--header", SECRET], "--header"),
        (["--header", f"x={SECRET}\né"], "the header x has characters"),
        (["--header", f"{SECRET} x=1"], "the name of a header"),
        (["--extra", "x=1", "--extra", "x=2"], "x is given twice"),
        (["--timeout", "0"], "--timeout"),
        (["--ca", "no-such.pem"], "--ca no-such.pem"),
        (["--written-calls", "telepathy"], "auto, or one of"),
        (["--concurrency", "0"], "--concurrency 0"),
        (["--max-tokens", "0"], "--max-tokens 0"),
    ],
)
@pytest.mark.parametrize("command", ["bench", "eval"])
def test_options_that_cannot_work_get_one_line(
    command: str, flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, ARITHMETIC.id, "--model", "http://127.0.0.1:9/v1", *flags]) in (1, 2)
    told = capsys.readouterr().err
    assert named in told
    assert told.count("\n") == 1
    assert SECRET not in told


@pytest.mark.parametrize("command", ["bench", "eval"])
@pytest.mark.parametrize(
    "flags", [["--extra", "x=1"], ["--written-calls", "hermes"]], ids=lambda flags: flags[0]
)
def test_options_of_servers_are_refused_for_others(
    command: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, ARITHMETIC.id, "--model", "scripted:oracle", *flags]) == 2
    assert f"{flags[0]}" in (told := capsys.readouterr().err)
    assert ": only for a model behind a server" in told


TOOLS = [{"type": "function", "function": {"name": "press", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "press", "arguments": {"button": "left"}}\n</tool_call>',
        '[TOOL_CALLS][{"name": "press", "arguments": {"button": "left"}}]',
        '[TOOL_REQUEST]{"name": "press", "arguments": {"button": "left"}}[END_TOOL_REQUEST]',
        "<tool_call>\n<function=press>\n<parameter=button>\nleft\n</parameter>\n</function>\n</tool_call>",
        '<function=press>{"button": "left"}</function>',
        '<|python_tag|>{"name": "press", "parameters": {"button": "left"}}',
        '{"name": "press", "parameters": {"button": "left"}}',
        '[press(button="left")]',
    ],
)
def test_calls_in_any_format_are_read(text: str) -> None:
    for said in (text, f"Let me see.\n{text}", f"<think>press?</think>{text}"):
        reply = read_any(assistant(said), TOOLS)
        (call,) = reply["tool_calls"]
        assert call["function"] == {"name": "press", "arguments": {"button": "left"}}
        assert reply["content"].strip() in ("", "Let me see.", "<think>press?</think>")


@pytest.mark.parametrize("text", ["", "I press it.", '{"name": "Ann"}', "[1, 2]", "f(x) = 1", "a <b> c"])
def test_a_text_without_calls_stays_a_text(text: str) -> None:
    assert read_any(assistant(text), TOOLS) == assistant(text)


def test_a_call_that_cannot_be_read_is_answered_as_a_call() -> None:
    (call,) = read_any(assistant('<tool_call>{"name": "press", </tool_call>'), TOOLS)["tool_calls"]
    assert call["function"]["arguments"] == '{"name": "press",'
