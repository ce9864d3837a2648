"""A log of episodes that an agent from outside plays, as `ludus serve mcp ID --log FILE` and `ludus serve
tools --env ID --log FILE` write it.

The file is a journal (`ludus.agents.journal`). `score` makes a benchmark's folder of it.
"""

import json
import threading
import time
from collections import Counter, defaultdict
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium

from ludus.agents.bench.directory import OUTSIDE, BenchError, Settings, begin
from ludus.agents.bench.journal import encode, read_journal
from ludus.agents.bench.outcome import Outcome, write_results
from ludus.agents.bench.run import Listener, play_baselines
from ludus.agents.bench.tasks import EDITIONS, TaskList, TaskSet
from ludus.agents.episode import Episode, StopReason
from ludus.agents.journal import Journal
from ludus.agents.policy import Action
from ludus.agents.recording import Recorder
from ludus.envs.chat import Chat
from ludus.envs.mcp.episodes import Ending, Watcher

_STOPS = {
    "terminated": StopReason.TERMINATED,
    "truncated": StopReason.TRUNCATED,
    "fault": StopReason.ENVIRONMENT_FAULT,
    "given up": StopReason.GIVEN_UP,
}


class EpisodeLog:
    """Appends the episodes of several players to one file."""

    def __init__(self, path: Path, environment: str, arguments: dict[str, Any]) -> None:
        """
        Raises:
            UserError: another process is writing to the file.
            OSError: it cannot be written.
        """
        self._journal = Journal(path)
        self._journal.mend()
        self._lock = threading.Lock()
        self._environment, self._arguments = environment, arguments

    def watcher(self) -> Watcher:
        """For one player."""
        return _Recorded(self)

    def recorder(self, seed: int) -> Recorder:
        return Recorder(self._environment, self._arguments, seed, 0, 0)

    def append(self, episode: Episode) -> None:
        with self._lock:
            self._journal.append(encode(episode))


class _Recorded(Watcher):
    """Records the episodes of one player. What passes between an answer and the next call is the model's
    time."""

    def __init__(self, log: EpisodeLog) -> None:
        self._log = log

    def begun(self, env: gymnasium.Env[Any, Any], seed: int, task: Chat, info: dict[str, Any]) -> None:
        self._env = env
        self._recorder = self._log.recorder(seed)
        self._recorder.begin(env, info)
        self._recorder.observation = task
        self._answered = time.perf_counter()

    def stepped(
        self, reply: Any, messages: Chat, reward: float, info: dict[str, Any], seconds: float
    ) -> None:
        now = time.perf_counter()
        thought = max(0.0, now - self._answered - seconds)
        self._recorder.add(Action(reply), 0, reward, info, thought, seconds)
        self._recorder.observation = messages
        self._answered = now

    def ended(self, how: Ending, success: bool, fault: str) -> None:
        if not success and how != "fault":
            self._recorder.judge(self._env)
        self._log.append(self._recorder.end(_STOPS[how], success, fault))


def score(log: Path, out: Path, name: str, listener: Listener | None = None) -> Outcome:
    """A benchmark's folder with the episodes of a log, beside the scripted agents on the same tasks. Episodes
    of one seed are repeats of its task.

    Args:
        name: who played.

    Raises:
        BenchError: the log has no episodes, or `out` is not empty.
    """
    listener = listener or Listener()
    episodes = [*read_journal(log)]
    if not episodes:
        raise BenchError(
            f"{log} has no finished episodes: each is written when it ends, so start one and end it"
        )
    keys: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for episode in episodes:
        known = keys[episode.environment, json.dumps(episode.arguments, sort_keys=True)]
        known[episode.seed] = known.get(episode.seed) or episode.task
    tasks = TaskList(
        tuple(
            TaskSet(
                id,
                json.loads(arguments),
                tuple(sorted(known)),
                tuple(known[seed] for seed in sorted(known)),
                EDITIONS.get(id, 1),
            )
            for (id, arguments), known in keys.items()
        )
    )
    places = {
        (task_set.id, json.dumps(task_set.arguments, sort_keys=True), seed): None
        for task_set in tasks.sets
        for seed in task_set.seeds
    }
    number = {place: task for task, place in enumerate(places)}
    played = Counter[int]()
    lines = []
    for episode in episodes:
        task = number[episode.environment, json.dumps(episode.arguments, sort_keys=True), episode.seed]
        lines.append(encode(replace(episode, group=task, sample=played[task])))
        played[task] += 1
    settings = Settings(
        suite=",".join(dict.fromkeys(task_set.id for task_set in tasks.sets)),
        model=name,
        agent=OUTSIDE,
        temperature=0.0,
        max_tokens=0,
        seed=0,
        n=None,
        repeats=max(played.values()),
        tasks=tasks.digest,
        ludus=version("ludus"),
    )
    folder = begin(out, settings, tasks, {})
    with Journal(folder.journal) as journal:
        for line in lines:
            journal.append(line)
    return write_results(folder, folder.results(), play_baselines(tasks, listener))
