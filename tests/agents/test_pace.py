"""How many requests a server bears at once, and how long its windows are: by a clock that the test turns, and
against servers on loopback whose minute is half a second."""

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Any

import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.engines import retries, server
from ludus.agents.engines.options import ServerListener, ServerOptions
from ludus.agents.engines.pace import Pace
from ludus.agents.engines.server import OpenAIServer

MINUTE = 60.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everybody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            while self._scheduled and self._scheduled[0]._cancelled:  # type: ignore[attr-defined]
                heapq.heappop(self._scheduled)  # type: ignore[attr-defined]
            if self._scheduled:  # type: ignore[attr-defined]
                self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Window:
    """A server that answers so many requests in each window, and refuses the others."""

    def __init__(self, loop: VirtualLoop, most: int, tells: bool, seconds: float = 1.0) -> None:
        self.loop, self.most, self.tells, self.seconds = loop, most, tells, seconds
        self.counts: dict[int, int] = {}
        self.refused = 0

    async def ask(self) -> float | None:
        """None if it answers; otherwise how long it asks to wait, or -1 if it does not say."""
        window = int(self.loop.time() // MINUTE)
        self.counts[window] = self.counts.get(window, 0) + 1
        if self.counts[window] > self.most:
            self.refused += 1
            await asyncio.sleep(0.01)
            return (window + 1) * MINUTE - self.loop.time() if self.tells else -1
        await asyncio.sleep(self.seconds)
        return None


def play(requests: int, most: int, tells: bool, at_once: int = 64) -> tuple[float, Window, Pace]:
    loop = VirtualLoop()
    pace, window = Pace(clock=loop.time), Window(loop, most, tells)

    async def one_request() -> None:
        limited = False
        while True:
            sent_at = await pace.enter(first=limited)
            asked = await window.ask()
            if asked is None:
                pace.answered(sent_at)
                pace.leave()
                return
            pace.limited(sent_at, None if asked < 0 else asked)
            pace.leave()
            limited = True

    async def main() -> None:
        many = asyncio.Semaphore(at_once)

        async def turn() -> None:
            async with many:
                await one_request()

        await asyncio.gather(*(turn() for _ in range(requests)))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
        return loop.now, window, pace


@pytest.mark.parametrize("tells", [False, True])
def test_a_limit_by_the_minute_is_kept_without_wasting_minutes(tells: bool) -> None:
    seconds, window, pace = play(200, 40, tells)
    assert seconds < 6.5 * MINUTE  # five windows at the least
    assert window.refused < 200
    assert "the server limits requests" in pace.shown


def test_a_server_without_limits_is_never_held_back() -> None:
    seconds, window, pace = play(256, 10_000, False, at_once=256)
    assert seconds == pytest.approx(1.0)
    assert (window.refused, pace.shown) == (0, "")


def test_fewer_are_sent_after_a_round_of_refusals_and_more_after_answers() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])

    async def main() -> list[str]:
        shown = []
        times = [await pace.enter() for _ in range(32)]
        now[0] = 1.0
        for sent_at in times:
            pace.limited(sent_at, 0.0)  # one round, however many are refused
            pace.leave()
        shown.append(pace.shown)
        for _ in range(40):
            now[0] += 1
            sent_at = await pace.enter()
            pace.answered(sent_at)
            pace.leave()
        shown.append(pace.shown)
        now[0] += 1
        sent_at = await pace.enter()
        pace.overloaded(sent_at)
        pace.leave()
        return [*shown, pace.shown]

    assert asyncio.run(main()) == [
        "16 at once: the server limits requests",
        "18 at once: the server limits requests",
        "1 at once: the server limits requests",
    ]


def test_one_who_no_longer_waits_blocks_nobody() -> None:
    pace = Pace()

    async def main() -> None:
        sent_at = await pace.enter()
        pace.limited(sent_at, 0.02)
        pace.leave()
        gone = [asyncio.create_task(pace.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        await asyncio.wait_for(pace.enter(), 5)

    asyncio.run(main())


@pytest.fixture
def limited_server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A context that gives the URL of a server on loopback that answers `respond()`."""
    monkeypatch.setattr(retries, "FIRST_S", 0.02)

    async def start(respond: Callable[[], tuple[int, bytes]]) -> tuple[asyncio.Server, str]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                    status, body = respond()
                    writer.write(
                        b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                        % (status, len(body), body)
                    )
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        return listening, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"

    return start


class Told(ServerListener):
    def __init__(self) -> None:
        self.paces: list[str] = []

    def paced(self, text: str) -> None:
        self.paces.append(text)


def test_every_request_to_a_limited_server_is_answered_in_the_end(limited_server: Any) -> None:
    began, window_s, most = time.monotonic(), 0.3, 20
    counts: dict[int, int] = {}

    def respond() -> tuple[int, bytes]:
        window = int((time.monotonic() - began) / window_s)
        counts[window] = counts.get(window, 0) + 1
        return (200, b'{"ok": 1}') if counts[window] <= most else (429, b'{"error": "too many"}')

    told = Told()

    async def main() -> list[Any]:
        listening, url = await limited_server(respond)
        client = OpenAIServer(url, "m", listener=told)
        async with listening:
            return await asyncio.gather(
                *(
                    client.post("chat/completions", {}, lambda answer: answer["ok"], seed)
                    for seed in range(80)
                )
            )

    assert asyncio.run(main()) == [1] * 80
    assert any("at once: the server limits requests" in text for text in told.paces)


def test_waiting_for_a_server_is_not_the_models_time(limited_server: Any) -> None:
    from ludus.agents.chat_policy import ChatPolicy
    from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout_async

    answer = b'{"choices": [{"message": {"content": "<answer>7</answer>"}, "finish_reason": "stop"}]}'
    asked = []

    def respond() -> tuple[int, bytes]:
        asked.append(time.monotonic())
        return (200, answer) if len(asked) == 3 else (429, b'{"error": "try again in 200ms"}')

    async def main() -> Any:
        listening, url = await limited_server(respond)
        async with listening:
            policy = ChatPolicy(OpenAIServer(url, "m"))
            return await rollout_async(policy, EnvironmentSpec("ludus/Arithmetic-v0"), [EpisodeStart(0)])

    (episode,) = asyncio.run(main())
    assert asked[-1] - asked[0] > 0.35
    assert episode.turns[0].generate_seconds < 0.2


def test_a_server_that_only_ever_limits_is_given_up_with_its_reason(
    limited_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0.1)

    async def main() -> None:
        listening, url = await limited_server(lambda: (429, b'{"error": {"message": "not today"}}'))
        client = OpenAIServer(url, "m", options=ServerOptions(concurrency=2))
        async with listening:
            await client.post("chat/completions", {}, lambda answer: answer)

    with pytest.raises(server.EngineFault, match=r"not today \(\d+ attempts\)"):
        asyncio.run(main())
