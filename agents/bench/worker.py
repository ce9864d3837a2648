"""A worker process: takes starts from its parent, sends back each episode as its journal line and its result.

Started as `python -m ludus.agents.bench.worker FD`, with one end of a socket pair. Only the parent writes
files. The worker sends heartbeats as long as it lives, whatever it plays.
"""

import asyncio
import gc
import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from ludus.agents.bench.journal import encode
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.result import Result, measure
from ludus.agents.bench.tasks import TaskList
from ludus.agents.engines.options import ServerListener
from ludus.agents.episode import Episode
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout_stream
from ludus.tools.errors import UserError


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play."""

    task: int
    """Its index in `TaskList.starts`."""
    sample: int


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to a worker."""

    player: PlayerChoice
    tasks: TaskList
    concurrency: int
    modules: tuple[str, ...]
    """Modules to import first, since they register environments."""
    path: tuple[str, ...]
    """`sys.path` of the parent."""
    beat: float
    """Seconds between heartbeats."""


@dataclass(frozen=True, slots=True)
class Played:
    """Episodes that ended at about the same time."""

    episodes: tuple[tuple[bytes, Result], ...]
    """The journal line and the result of each."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the client of a server tells: see `ServerListener`."""

    what: Literal["paced", "note"]
    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker is set up and waits for jobs."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The last message of a worker."""

    how: Literal["done", "refused", "broken"]
    text: str = ""
    notes: tuple[str, ...] = ()


Said = Played | Beat | Told | Ready | Ended
Say = Callable[[Said], None]


class _Teller(ServerListener):
    def __init__(self, say: Say) -> None:
        self._say = say

    def paced(self, text: str) -> None:
        self._say(Told("paced", text))

    def note(self, text: str) -> None:
        self._say(Told("note", text))


def start_of(
    tasks: TaskList, starts: list[tuple[int, int]], job: Job
) -> tuple[EnvironmentSpec, EpisodeStart]:
    which, number = starts[job.task]
    task_set = tasks.sets[which]
    return task_set.spec, EpisodeStart(task_set.seeds[number], group=job.task, sample=job.sample)


def main() -> None:
    link = Connection(int(sys.argv[1]))
    setup: Setup = link.recv()
    lock = threading.Lock()

    def say(said: Said) -> None:
        with lock:  # several threads send
            link.send(said)

    threading.Thread(target=_beat, args=(say, setup.beat), daemon=True).start()
    sys.path[:] = setup.path
    for module in setup.modules:
        importlib.import_module(module)
    try:
        asyncio.run(_play(link, say, setup))
        ended = Ended("done")
    except UserError as refusal:
        ended = Ended("refused", str(refusal), tuple(getattr(refusal, "__notes__", ())))
    except Exception:
        ended = Ended("broken", traceback.format_exc())
    say(ended)
    # Do not wait for threads of stuck environments, or for the one that listens to the parent.
    os._exit(0)


def _beat(say: Say, seconds: float) -> None:
    while True:
        try:
            say(Beat())
        except OSError:  # the parent is gone, which another thread notices too
            return
        time.sleep(seconds)


def _collect_less() -> None:
    """What is loaded by now stays, and episodes make many objects but few cycles: looking for garbage as
    often as Python does by default takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


async def _play(link: Connection, say: Say, setup: Setup) -> None:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[Job | None] = asyncio.Queue()

    def put(jobs: list[Job | None]) -> None:
        for job in jobs:
            waiting.put_nowait(job)

    def listen() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(put, link.recv())
        except (EOFError, OSError):
            os._exit(1)  # the parent is gone, so nobody would read further episodes

    starts = setup.tasks.starts

    async def next_start() -> tuple[EnvironmentSpec, EpisodeStart] | None:
        job = await waiting.get()
        if job is None:
            waiting.put_nowait(None)  # for the others
            return None
        return start_of(setup.tasks, starts, job)

    ended: list[tuple[bytes, Result]] = []

    def send() -> None:
        if ended:
            say(Played(tuple(ended)))
            ended.clear()

    def finished(episode: Episode) -> None:
        if not ended:
            loop.call_soon(send)  # with all that end until then: a message takes as long as an episode
        ended.append((encode(episode), measure(episode)))

    threading.Thread(target=listen, daemon=True).start()
    policy = setup.player.policy(setup.concurrency, _Teller(say))
    _collect_less()
    say(Ready())
    try:
        await rollout_stream(policy, next_start, finished, concurrency=setup.concurrency)
    finally:
        send()


if __name__ == "__main__":
    # Import it under its own name, so that the parent can unpickle its classes.
    from ludus.agents.bench import worker

    worker.main()
