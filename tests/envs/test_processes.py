"""An episode goes on the same in another process, in other threads and within an event loop."""

import asyncio
import copy
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector.utils import CloudpickleWrapper

import ludus  # noqa: F401
from ludus.envs.conformance.episodes import carry_on, comparable, comparable_step, play

from .conftest import ONE_OF_EACH_KIND, environments

Trace = tuple[Any, ...]

every_environment = pytest.mark.parametrize(
    "id", environments(lambda name: name not in ONE_OF_EACH_KIND), indirect=True
)


STEPS = 4


class Begun:
    """An environment in the middle of an episode of its random agent, and how that has to go on."""

    def __init__(self, id: str) -> None:
        self.env = gymnasium.make(id)
        agent = self.env.unwrapped.scripted["random"](self.env.unwrapped)  # type: ignore[attr-defined]
        _, *steps = islice(play(self.env, agent, 5), 1 + STEPS)
        middle = len(steps) // 2
        self.env.reset(seed=5)
        tuple(carry_on(self.env, tuple(step.action for step in steps[:middle])))
        self.rest = tuple(step.action for step in steps[middle:])
        self.expected: Trace = tuple(map(comparable_step, steps[middle:]))

    def go_on(self) -> tuple[Trace, Any]:
        """What comes, and the start of the episode after it."""
        return tuple(carry_on(self.env, self.rest)), comparable(self.env.reset())


@pytest.fixture
def begun(id: str) -> Iterator[Begun]:
    one = Begun(id)
    yield one
    one.env.close()


@pytest.fixture(scope="module")
def spawned() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@every_environment
def test_a_spawned_process(begun: Begun, spawned: ProcessPoolExecutor) -> None:
    """It gets the environment as `AsyncVectorEnv` sends one, by cloudpickle."""
    twin = copy.deepcopy(begun)  # the pool pickles what it sends later, in a thread
    there = spawned.submit(CloudpickleWrapper(twin.go_on))
    expected = begun.go_on()
    assert expected[0] == begun.expected
    assert there.result(240) == expected
    twin.env.close()


def in_a_fork(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begins to work in a forked process; what is returned waits for the result."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(work()))
    child.start()
    sender.close()

    def result() -> Any:
        found = receiver.recv()
        child.join(60)
        assert child.exitcode == 0
        return found

    return result


@every_environment
def test_a_forked_process(begun: Begun) -> None:
    """It has the very same object, with what that holds open, and goes on at the same time."""
    there = in_a_fork(begun.go_on)
    expected = begun.go_on()
    assert expected[0] == begun.expected
    assert there() == expected
    assert comparable(begun.env.reset(seed=5))


def test_a_forked_process_has_threads_of_its_own_for_many_games() -> None:
    envs = gymnasium.make_vec("ludus/PacMan-v0", num_envs=4, threads=2)
    envs.reset(seed=1)
    there = in_a_fork(lambda: comparable(envs.step(np.zeros(4, np.int64))))
    assert comparable(envs.step(np.zeros(4, np.int64))) == there()
    envs.close()


@every_environment
def test_other_threads(begun: Begun) -> None:
    """Every step is made in a thread of its own."""
    found = []
    for action in begun.rest:
        done: Future[Trace] = Future()
        thread = threading.Thread(
            target=lambda action=action, done=done: done.set_result(tuple(carry_on(begun.env, (action,))))
        )
        thread.start()
        found += done.result(60)
        thread.join()
    assert tuple(found) == begun.expected


@every_environment
def test_an_event_loop(begun: Begun) -> None:
    """One is played in the loop's own thread, and its copy in another meanwhile."""
    twin = copy.deepcopy(begun)

    async def both() -> tuple[Any, Any]:
        beside = asyncio.create_task(asyncio.to_thread(twin.go_on))
        await asyncio.sleep(0)
        return begun.go_on(), await beside

    within, beside = asyncio.run(both())
    twin.env.close()
    assert within[0] == begun.expected
    assert beside == within
