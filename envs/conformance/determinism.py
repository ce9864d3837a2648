"""Checks that an episode follows from (arguments, seed, options, actions), wherever and beside whatever it is
played."""

import copy
import os
import pickle
import random
import subprocess
import sys
import threading
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.conformance.episodes import Recording, Subject, carry_on, comparable, expect_same, replay
from ludus.envs.conformance.replay import digest
from ludus.envs.conformance.report import Violation


def seeds(subject: Subject) -> str:
    """The same seed gives the same episode again, and no global generator plays a part."""
    env = subject.make()
    for recording in subject.recordings:
        random.seed(recording.seed + 1)
        np.random.seed(recording.seed + 1)
        before = random.getstate(), comparable(np.random.get_state())
        env.reset(seed=recording.seed)
        trace = tuple(replay(env, recording))
        expect_same(f"seed {recording.seed} in another instance, reset twice", recording.trace, trace)
        if before != (random.getstate(), comparable(np.random.get_state())):
            raise Violation(
                f"seed {recording.seed}: the episode drew from a global generator; draw from self.np_random"
            )
    unseeded = []
    for instance in (env, subject.make()):
        instance.reset(seed=0)
        unseeded.append([comparable(instance.reset()) for _ in range(3)])
    if unseeded[0] != unseeded[1]:
        raise Violation("reset(seed=0) and then reset() does not begin the same episodes in two instances")
    return f"{len(subject.recordings)} episodes again, in another instance"


def instances(subject: Subject) -> str:
    """Instances that take turns do not notice each other."""
    recordings = subject.recordings
    players = [replay(subject.make(), recording) for recording in recordings]
    traces: list[list[Any]] = [[] for _ in recordings]
    running = set(range(len(players)))
    while running:
        for index in sorted(running):
            step = next(players[index], None)
            if step is None:
                running.discard(index)
            else:
                traces[index].append(step)
    for recording, trace in zip(recordings, traces, strict=True):
        expect_same(f"seed {recording.seed}, beside other instances", recording.trace, tuple(trace))
    return f"{len(recordings)} instances, step by step in turn"


def threads(subject: Subject) -> str:
    """Instances in threads do not notice each other."""
    recordings = subject.recordings
    errors: list[Exception] = []
    together = threading.Barrier(len(recordings))

    def work(index: int, env: gymnasium.Env[Any, Any]) -> None:
        together.wait()
        try:
            for recording in recordings[index:] + recordings[:index]:
                expect_same(
                    f"seed {recording.seed}, in a thread", recording.trace, tuple(replay(env, recording))
                )
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(i, subject.make())) for i in range(len(recordings))]
    interval = sys.getswitchinterval()
    # Threads change places a thousand times as often as they would, so that few episodes are enough.
    sys.setswitchinterval(5e-6)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    return f"{len(workers)} threads, {len(recordings)} episodes each"


def processes(subject: Subject) -> str:
    """Other processes, with other orders of sets and other hashes of strings, give the same episodes."""
    expected = digest(subject.make, subject.recordings)
    work = pickle.dumps((sys.path, pickle.dumps((subject.make, subject.recordings))))
    hash_seeds = ("1", "2024")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", "from ludus.envs.conformance.replay import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        for hash_seed in hash_seeds
    ]
    results = [(*process.communicate(work), process.returncode) for process in running]
    for hash_seed, (output, errors, status) in zip(hash_seeds, results, strict=True):
        if status:
            last = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise Violation(f"the environment does not play in another process: {''.join(last)}")
        if output.decode().strip() != expected:
            raise Violation(
                f"with PYTHONHASHSEED={hash_seed} another process gives other episodes: look for the order "
                "of a set, hash() of a string, id(), the clock, or the process's number"
            )
    return f"{len(hash_seeds)} processes, PYTHONHASHSEED {' and '.join(hash_seeds)}"


def snapshots(subject: Subject) -> str:
    """`restore(snapshot())` goes on as if nothing had happened: here, elsewhere, pickled, copied, and
    again."""
    env, other = subject.make(), subject.make()
    if not hasattr(env.unwrapped, "snapshot") or not hasattr(env.unwrapped, "restore"):
        raise Violation("there is no snapshot() or no restore(state); tree search and branching need them")
    for recording in subject.recordings:
        middle = len(recording.actions) // 2
        tuple(replay(env, Recording(recording.seed, recording.actions[:middle], ())))
        taken = env.unwrapped.snapshot()
        rest, expected = recording.actions[middle:], recording.trace[middle + 1 :]
        pickled, copied = pickle.dumps(taken), copy.deepcopy(taken)
        seed = recording.seed
        expect_same(f"seed {seed}, going on after snapshot()", expected, tuple(carry_on(env, rest)))
        for what, target, state in (
            ("restored in the same instance", env, taken),
            ("restored a second time", env, taken),
            ("restored in another instance", other, taken),
            ("restored from a pickle", other, pickle.loads(pickled)),
            ("restored from a deep copy", env, copied),
        ):
            # Another episode lies between, so that nothing of the old one is left by accident.
            target.reset(seed=seed + 1)
            target.unwrapped.restore(state)  # type: ignore[attr-defined]
            expect_same(f"seed {seed}, {what} after {middle} steps", expected, tuple(carry_on(target, rest)))
    return f"{len(subject.recordings)} episodes, restored mid-way in five ways"
