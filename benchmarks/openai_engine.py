"""Episodes against a server that takes 200 ms per answer: how close the client comes to the ideal.

    python benchmarks/openai_engine.py [--answers 40] [--in-flight 256]

A server on loopback (uvicorn, in its own process) answers every chat request after 200 ms; `rollout` plays
`ludus/Arithmetic-v0` through `ChatPolicy` with 256 requests in flight. The ideal is one answer per request in
flight every 200 ms. The client is one process; its time per request, episode included, is shown too.

Prints a table and writes `benchmarks/results/openai_engine.json`. The project's limit is 90% of the ideal.
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from machine import machine

from ludus.agents.chat_policy import ChatPolicy
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.server import OpenAIServer
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout

RESULTS = Path(__file__).parent / "results" / "openai_engine.json"
ANSWER_S, LIMIT = 0.2, 0.9
SPEC = EnvironmentSpec("ludus/Arithmetic-v0")


def answer() -> bytes:
    message = {"role": "assistant", "content": "<think>Easy.</think><answer>7</answer>"}
    return json.dumps(
        {
            "object": "chat.completion",
            "model": "slow",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 40, "completion_tokens": 12},
        }
    ).encode()


def serve(ready: Connection) -> None:
    import uvicorn

    models, answered = json.dumps({"data": [{"id": "slow"}]}).encode(), answer()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        is_question = scope["method"] == "POST"
        if is_question:
            await asyncio.sleep(ANSWER_S)
        content = answered if is_question else models
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        ready.send(listening.getsockname()[1])
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=60)
        uvicorn.Server(config).run(sockets=[listening])


def play(url: str, episodes: int, in_flight: int) -> tuple[float, float]:
    """Episodes per second, and seconds of processor time per episode."""
    policy = ChatPolicy(OpenAIServer.connect(url, concurrency=in_flight), Sampling(max_tokens=64))
    starts = [EpisodeStart(seed) for seed in range(episodes)]
    began, used = time.perf_counter(), time.process_time()
    played = rollout(policy, SPEC, starts, concurrency=in_flight)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    assert not any(episode.is_fault for episode in played)
    assert sum(len(episode.turns) for episode in played) == episodes
    return episodes / seconds, used / episodes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=40, help="for each request in flight")
    parser.add_argument("--in-flight", type=int, default=256)
    options = parser.parse_args()
    in_flight: int = options.in_flight
    spawn = multiprocessing.get_context("spawn")
    ready, of_server = spawn.Pipe()
    server = spawn.Process(target=serve, args=(of_server,), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{ready.recv()}"
        rate, used_s = play(url, options.answers * in_flight, in_flight)
    finally:
        server.terminate()
        server.join()
    ideal = in_flight / ANSWER_S
    print(f"{rate:,.0f} answers/s with {in_flight} in flight; ideal {ideal:,.0f}: {rate / ideal:.1%}")
    print(f"{used_s * 1e3:.2f} ms of the client's processor an answer; the limit is {LIMIT:.0%} of the ideal")
    result = {
        "answers_per_second": rate,
        "ideal": ideal,
        "share": rate / ideal,
        "limit": LIMIT,
        "within_limit": rate / ideal >= LIMIT,
        "in_flight": in_flight,
        "answers": options.answers * in_flight,
        "answer_seconds": ANSWER_S,
        "client_seconds_per_answer": used_s,
        **machine("httpx", "h11", "uvicorn"),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
