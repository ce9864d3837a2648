"""How many steps per second `ludus serve openenv` answers on loopback, beside an environment of OpenEnv's
that does nothing; and whether 10,000 sessions leave anything behind.

    python benchmarks/surfaces.py [--seconds 10] [--sessions 10000]

To be run where OpenEnv is installed (`.ci/surface.sh start openenv` prints the interpreter), on two quiet
cores. 32 clients in one process, each with one request in flight, play episodes of a scripted agent, which
were recorded directly: resets and steps in turn, as episodes have them. Every answer is checked to be an
observation. The peer (`peers/openenv_server.py`) is measured in the same run by the same load generator
(`load.py`), over its WebSocket.

Then sessions are opened, 32 at a time, each with a reset and a step, every other one left without a word; the
server's threads, files and memory are read after the first tenth of them and at the end.

Prints a table and writes `benchmarks/results/surfaces.json`.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from load import WebSocketClient, load
from machine import machine
from tool_server import cpu_s, is_observation, peer

RESULTS = Path(__file__).parent / "results" / "surfaces.json"
CLIENTS = 32
EPISODES = 40
PLAYED = ("ludus/Countdown-v0", "ludus/HiddenWord-v0", "ludus/TicTacToeChat-v0")
"""From one turn to several; what they compute is little."""
LEFT = "ludus/Countdown-v0"


def requests(id: str) -> tuple[list[bytes], float]:
    """What is asked to play episodes of the random agent, and the share of it that are steps."""
    import gymnasium

    from ludus.envs.conformance.episodes import play

    env = gymnasium.make(id)
    agent = env.unwrapped.scripted["random"](env.unwrapped, 0)
    asked: list[dict[str, Any]] = []
    for seed in range(EPISODES):
        played = list(play(env, agent, seed))
        asked.append({"type": "reset", "data": {"seed": seed}})
        asked += [{"type": "step", "data": {"reply": step.action}} for step in played[1:]]
    # Client n asks the requests n, n + CLIENTS, …: each of them the whole sequence.
    sequence = [json.dumps(request).encode() for request in asked for _ in range(CLIENTS)]
    return sequence, 1 - EPISODES / len(asked)


@contextmanager
def served(id: str, workers: int) -> Iterator[tuple[int, int]]:
    """The port of `ludus serve openenv`, and the process."""
    words = [id, "--port", "0", "--workers", str(workers), "--sessions", str(2 * CLIENTS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ludus", "serve", "openenv", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2].rpartition(":")[2])
        time.sleep(5 * workers)  # every process has to start
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def measure(port: int, pid: int, asked: list[bytes], steps: float, seconds: float) -> dict[str, Any]:
    before = cpu_s(pid)
    done = load(
        "127.0.0.1", port, asked, is_observation, seconds=seconds, clients=CLIENTS, kind=WebSocketClient
    )
    cpu_us = (cpu_s(pid) - before) / done.total * 1e6
    return {**asdict(done), "steps_per_s": done.answers_per_s * steps, "server_cpu_us": cpu_us}


async def open_sessions(port: int, count: int) -> None:
    from websockets.asyncio.client import connect

    numbers = iter(range(count))
    reset = json.dumps({"type": "reset", "data": {"seed": 1}})
    step = json.dumps({"type": "step", "data": {"reply": "x"}})

    async def client() -> None:
        for number in numbers:
            session = await connect(f"ws://127.0.0.1:{port}/ws", proxy=None, compression=None)
            for request in (reset, step):
                await session.send(request)
                assert is_observation(bytes(await session.recv(), "utf-8"))
            if number % 2:
                session.transport.abort()
            else:
                await session.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def held(pid: int) -> dict[str, int]:
    """What a process holds, once it has had time to let go."""
    time.sleep(5)
    status = Path(f"/proc/{pid}/status").read_text()
    words = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "threads": int(words["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "resident_kib": int(words["VmRSS"].split()[0]),
    }


def sessions(count: int) -> dict[str, Any]:
    with served(LEFT, 1) as (port, pid):
        asyncio.run(open_sessions(port, count // 10))
        early = held(pid)
        began = time.perf_counter()
        asyncio.run(open_sessions(port, count - count // 10))
        seconds = time.perf_counter() - began
        return {"count": count, "per_s": 0.9 * count / seconds, "early": early, "late": held(pid)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--sessions", type=int, default=10_000, help="that are opened and left")
    arguments = parser.parse_args()
    before = os.getloadavg()
    figures: dict[str, dict[str, Any]] = {}
    for id in PLAYED:
        asked, steps = requests(id)
        for workers in (1, 2):
            with served(id, workers) as (port, pid):
                label = f"{id}, {workers} process{'es' * (workers > 1)}"
                figures[label] = measure(port, pid, asked, steps, arguments.seconds)
    step = json.dumps({"type": "step", "data": {"text": "hello there, how are"}}).encode()
    with peer(sys.executable) as (port, pid):
        figures["OpenEnv, an echo"] = measure(port, pid, [step], 1.0, arguments.seconds)
    for name, figure in figures.items():
        print(
            f"{name:36} {figure['steps_per_s']:8.0f} steps/s  {figure['answers_per_s']:8.0f} answers/s  "
            f"median {figure['median_ms']:6.2f} ms  CPU {figure['server_cpu_us']:4.0f} µs  "
            f"{figure['wrong']} wrong"
        )
    left = sessions(arguments.sessions)
    told = f"after a tenth {left['early']}, at the end {left['late']}"
    print(f"{left['count']} sessions, {left['per_s']:.0f}/s; held {told}")
    if wrong := sum(figure["wrong"] for figure in figures.values()):
        raise SystemExit(f"{wrong} answers were wrong: nothing is written")
    result = {
        "figures": figures,
        "sessions": left,
        "clients": CLIENTS,
        "loadavg_before": before,
        **machine("openenv", "uvicorn", "websockets", "httptools", "uvloop"),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
