"""Playing a list of jobs: in this process, or in several if that is faster."""

import struct
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from socket import SO_RCVTIMEO, SOL_SOCKET, socketpair

from ludus.agents.bench.journal import encode
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.result import Result, measure
from ludus.agents.bench.tasks import TaskList
from ludus.agents.bench.worker import Ended, Job, Played, Ready, Said, Setup, Told, start_of
from ludus.agents.engines.options import ServerListener
from ludus.agents.episode import Episode
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout_stream, run_blocking
from ludus.tools.errors import UserError

Keep = Callable[[bytes, Result], None]
"""Called with each finished episode: its journal line, and its result."""

SILENCE_S = 120
"""A process silent for this long is stuck: it should have sent many heartbeats by then."""
_BEATS = 24


class WorkerDied(UserError):
    """A worker process was killed, or is stuck."""


def play(
    player: PlayerChoice,
    tasks: TaskList,
    jobs: Sequence[Job],
    concurrency: int,
    keep: Keep,
    modules: Sequence[str] = (),
    listener: ServerListener | None = None,
) -> float:
    """Plays the jobs, at most `concurrency` at once over all environments and processes.

    Args:
        listener: is told what the clients of a server have to tell.

    Returns:
        The seconds that playing took, counted from when the first process was ready.

    Raises:
        UserError: the model refuses us, or a process was killed or is stuck. Finished episodes are kept.
        RolloutError, RuntimeError: an environment or a policy raised something that is not a fault.
    """
    if not jobs:
        return 0.0
    processes = player.processes(len(jobs), concurrency)
    if not processes:
        return _here(player, tasks, jobs, concurrency, keep, listener)
    return _elsewhere(
        player, tasks, jobs, concurrency, keep, modules, listener or ServerListener(), processes
    )


def _here(
    player: PlayerChoice,
    tasks: TaskList,
    jobs: Sequence[Job],
    concurrency: int,
    keep: Keep,
    listener: ServerListener | None,
) -> float:
    policy = player.policy(concurrency, listener)
    began = time.perf_counter()
    starts, waiting = tasks.starts, iter(jobs)

    async def next_start() -> tuple[EnvironmentSpec, EpisodeStart] | None:
        job = next(waiting, None)
        return None if job is None else start_of(tasks, starts, job)

    def finished(episode: Episode) -> None:
        keep(encode(episode), measure(episode))

    # A scripted agent keeps its process busy: several in one process would only wait for each other.
    at_once = 1 if player.is_scripted else min(concurrency, len(jobs))
    run_blocking(rollout_stream(policy, next_start, finished, concurrency=at_once))
    return time.perf_counter() - began


def _elsewhere(
    player: PlayerChoice,
    tasks: TaskList,
    jobs: Sequence[Job],
    concurrency: int,
    keep: Keep,
    modules: Sequence[str],
    listener: ServerListener,
    processes: int,
) -> float:
    each = 1 if player.is_scripted else -(-min(concurrency, len(jobs)) // processes)
    setup = Setup(player, tasks, each, tuple(modules), tuple(sys.path), SILENCE_S / _BEATS)
    left = deque(jobs)
    # A message for each job would cost more than most episodes; there are always jobs waiting in the process.
    batch, owed = max(1, each // 4), Counter[Connection]()
    began: float | None = None
    with ExitStack() as stack:
        workers = dict(stack.enter_context(_Worker(setup)) for _ in range(processes))
        busy, told = set(workers), set[Connection]()
        heard = dict.fromkeys(workers, time.monotonic())
        while busy:
            speaking = wait(list(busy), SILENCE_S)
            _require_signs_of_life(busy, heard)
            for link in speaking:
                assert isinstance(link, Connection)
                heard[link] = time.monotonic()
                try:
                    said: Said = link.recv()
                    if isinstance(said, Played):
                        for line, result in said.episodes:
                            keep(line, result)
                        owed[link] += len(said.episodes)
                        if owed[link] >= batch:
                            _give(link, left, owed.pop(link), told)
                    elif isinstance(said, Told):
                        (listener.paced if said.what == "paced" else listener.note)(said.text)
                    elif isinstance(said, Ended):
                        _raise(said)
                        busy.discard(link)
                    elif isinstance(said, Ready):
                        began = began or time.perf_counter()
                        # A further job waits behind each one being played, so that no process is ever idle.
                        _give(link, left, 2 * each, told)
                except (EOFError, ConnectionError):
                    raise WorkerDied(
                        f"a worker process ended with code {workers[link].wait()}: it was killed, or "
                        "had no memory left (then try a smaller --concurrency)"
                    ) from None
                except BlockingIOError:  # it was stopped in the middle of a message
                    raise _stuck() from None
        return time.perf_counter() - (began or time.perf_counter())


def _require_signs_of_life(busy: Iterable[Connection], heard: Mapping[Connection, float]) -> None:
    now = time.monotonic()
    # If this process was suspended for a while, messages from the others are still waiting to be read.
    if any(now - heard[link] >= SILENCE_S and not link.poll() for link in busy):
        raise _stuck()


def _stuck() -> WorkerDied:
    return WorkerDied(
        f"a worker process gave no sign of life for {SILENCE_S} s: it was suspended, or the machine has no "
        "memory left (then try a smaller --concurrency); what was played is kept: the same command continues"
    )


def _give(link: Connection, left: deque[Job], count: int, told: set[Connection]) -> None:
    """Sends more jobs or, once, the message that there are no more."""
    given: list[Job | None] = [left.popleft() for _ in range(min(count, len(left)))]
    if len(given) < count and link not in told:
        told.add(link)
        given.append(None)
    if given:
        link.send(given)


def _raise(ended: Ended) -> None:
    error: Exception
    if ended.how == "done":
        return
    if ended.how == "refused":
        error = UserError(ended.text)
    else:
        error = RuntimeError(f"a worker process failed:\n{ended.text}")
    for note in ended.notes:
        error.add_note(note)
    raise error


class _Worker:
    """Starts a worker process and ends it with the context."""

    def __init__(self, setup: Setup) -> None:
        ours, theirs = socketpair()
        ours.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack("ll", SILENCE_S, 0))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ludus.agents.bench.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C goes to the parent, which tells the worker when to stop
                pass_fds=[theirs.fileno()],
            )
        self._link = Connection(ours.detach())
        self._link.send(setup)

    def __enter__(self) -> tuple[Connection, "subprocess.Popen[bytes]"]:
        return self._link, self._process

    def __exit__(self, *_: object) -> None:
        self._link.close()  # which ends the worker, whatever it is doing
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
