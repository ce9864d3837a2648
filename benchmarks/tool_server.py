"""How many tool calls per second `ludus serve tools` answers on loopback, beside an OpenEnv environment
server.

    python benchmarks/tool_server.py [--seconds 10] [--peer DIR/bin/python]

32 clients in one process, each with one call in flight; every answer's status and JSON are checked. All calls
are different, so that no answer comes from a cache: searches for two words, pages, forecasts of random
places, names to geocode; and these in turn. The server's processor time per answer is shown too, because
other programs disturb it less. The peer is measured in the same run, by the same load generator (`load.py`),
over HTTP (`POST /step`) and over its WebSocket, for an environment that does nothing
(`peers/openenv_server.py`). It needs its own Python environment: `python -m venv DIR && DIR/bin/pip install
openenv-core uvloop httptools`.

Prints a table and writes `benchmarks/results/tool_server.json`.
"""

import argparse
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import urlopen

from load import Check, Client, HttpClient, WebSocketClient, is_json, load
from machine import machine

RESULTS = Path(__file__).parent / "results" / "tool_server.json"
CALLS, SEED = 100_000, 7
HOURLY = ("temperature_2m", "precipitation", "wind_speed_10m", "cloud_cover", "relative_humidity_2m")
DAILY = ("temperature_2m_max", "temperature_2m_min", "precipitation_sum", "sunrise")


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode()


def calls(seed: int) -> dict[str, list[bytes]]:
    """Requests of each kind, all different."""
    from ludus.tools.services.search import encyclopedia
    from ludus.tools.services.weather import WeatherService

    rng = random.Random(SEED)
    book = encyclopedia(seed)
    words = sorted({word for page in book.pages for word in re.findall(r"\w{4,}", page.title)})
    pages = sorted(book.rows)
    names = [place.name for place in WeatherService(seed).places]
    searches = {f"/search/search?format=json&q={quote(' '.join(rng.sample(words, 2)))}" for _ in range(CALLS)}
    forecasts = {f"/weather/v1/forecast?{urlencode(forecast(rng), safe=',')}" for _ in range(CALLS)}
    named = {
        f"/weather/v1/search?{urlencode({'name': name, 'count': 1 + n})}"
        for name in names
        for n in range(100)
    }
    found = {
        "search": [get(path) for path in sorted(searches)],
        "page": [get(f"/search/page/{quote(id)}") for id in pages],
        "forecast": [get(path) for path in sorted(forecasts)],
        "geocoding": [get(path) for path in sorted(named)],
    }
    for requests in found.values():
        rng.shuffle(requests)
    # What agents do, in turn; calls other than those above, if there are enough.
    late = [requests[len(requests) // 2 :] for requests in found.values()]
    found["in turn"] = [late[n % 4][n // 4 % len(late[n % 4])] for n in range(CALLS)]
    return found


def forecast(rng: random.Random) -> dict[str, Any]:
    """A model's typical query: a place, one or two variables, one or a few days."""
    kind, names = rng.choice((("hourly", HOURLY), ("daily", DAILY), ("current", HOURLY)))
    return {
        "latitude": round(rng.uniform(-60, 70), 3),
        "longitude": round(rng.uniform(-180, 180), 3),
        kind: ",".join(rng.sample(names, rng.randint(1, 2))),
        "timezone": rng.choice(("UTC", "Europe/Kyiv", "America/Lima")),
        "forecast_days": rng.randint(1, 3),
    }


@contextmanager
def ours(workers: int) -> Iterator[tuple[int, int]]:
    """The port of `ludus serve tools`, and the process."""
    command = [
        str(Path(sys.executable).with_name("ludus")),
        "serve",
        "tools",
        "--port",
        "0",
        "--workers",
        str(workers),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split("http://")[1].split()[0]
        for _ in range(20):  # every process has to start
            urlopen(f"http://{url}/health", timeout=60).close()
            time.sleep(0.2)
        yield int(url.rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def peer(python: str) -> Iterator[tuple[int, int]]:
    """The port of the peer, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    program = Path(__file__).parent / "peers" / "openenv_server.py"
    # It reports every client that leaves with a traceback.
    process = subprocess.Popen([python, str(program), str(port)], cwd="/tmp", stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                raise SystemExit("the peer's server ended")
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def measure(
    port: int, pid: int, requests: list[bytes], check: Check, seconds: float, kind: type[Client] = HttpClient
) -> dict[str, Any]:
    """The load, and the server's microseconds of processor time per answer."""
    before = cpu_s(pid)
    done = load("127.0.0.1", port, requests, check, seconds=seconds, kind=kind)
    return {**asdict(done), "server_cpu_us": (cpu_s(pid) - before) / done.total * 1e6}


def cpu_s(pid: int) -> float:
    """Seconds of processor time used by a process and its children."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if pid in (int(folder.name), int(words[1])):
            ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure_peer(python: str, seconds: float) -> dict[str, dict[str, Any]]:
    body = json.dumps({"action": {"text": "hello there, how are"}}).encode()
    head = b"POST /step HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    post = b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
    step = json.dumps({"type": "step", "data": {"text": "hello there, how are"}}).encode()
    with peer(python) as (port, pid):
        return {
            "OpenEnv, POST /step": measure(port, pid, [post], is_json, seconds),
            "OpenEnv, WebSocket": measure(port, pid, [step], is_observation, seconds, WebSocketClient),
        }


def is_observation(body: bytes) -> bool:
    return json.loads(body)["type"] == "observation"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument(
        "--peer", required=True, help="the Python of the environment that the peer is installed in"
    )
    arguments = parser.parse_args()
    before = os.getloadavg()
    figures: dict[str, dict[str, Any]] = {}
    requests = calls(0)
    for workers in (1, 2):
        with ours(workers) as (port, pid):
            for name, asked in requests.items():
                label = f"ludus, {workers} process{'es' * (workers > 1)}, {name}"
                figures[label] = measure(port, pid, asked, is_json, arguments.seconds)
    if Path(arguments.peer).exists():
        figures |= measure_peer(arguments.peer, arguments.seconds)
    else:
        print(f"no peer at {arguments.peer}: it is left out")
    for name, figure in figures.items():
        print(
            f"{name:30} {figure['answers_per_s']:8.0f}/s  median {figure['median_ms']:6.2f} ms  "
            f"99% {figure['p99_ms']:6.2f} ms  CPU {figure['server_cpu_us']:4.0f} µs   {figure['wrong']} wrong"
        )
    if wrong := sum(figure["wrong"] for figure in figures.values()):
        raise SystemExit(f"{wrong} answers were wrong: nothing is written")
    result = {
        "figures": figures,
        "clients": 32,
        "loadavg_before": before,
        **machine("uvicorn", "httptools", "uvloop", "starlette"),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
