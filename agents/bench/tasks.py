"""Task lists: the starts to play, identified by content, with a hash that tells whether results are
comparable."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ludus.agents.rollout import EnvironmentSpec
from ludus.tools.errors import UserError
from ludus.tools.files import write_file

FIRST_SEED = 2**33
"""Where the search for tasks begins: above the seeds that training and `ludus eval` use."""
EDITIONS: dict[str, int] = {
    "ludus/Search-v0": 2,
    "ludus/Calendar-v0": 2,
    "ludus/Weather-v0": 2,
    "ludus/Assistant-v0": 2,
}
"""The edition of an environment's tasks, 1 where it is not given. It grows when tasks say or want something
else while the environment's version, and perhaps the tasks' keys, stay the same, as before its release.
Earlier lists are kept in `tasks/earlier`."""
_FRUITLESS = 2000
"""After this many seeds in a row with already listed tasks, an environment counts as exhausted."""


class TaskListError(UserError):
    """A task list is damaged, or an environment cannot fill it."""


@dataclass(frozen=True, slots=True)
class TaskSet:
    """The tasks of one environment, in the order in which they are played; no two are the same task."""

    id: str
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of `gym.make`."""
    seeds: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ()
    """`info["task"]` after `reset` with each of the seeds."""
    edition: int = 1
    """See `EDITIONS`."""

    @property
    def spec(self) -> EnvironmentSpec:
        return EnvironmentSpec(self.id, self.arguments)

    @property
    def label(self) -> str:
        """The environment as a person writes it: the id, with any arguments."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.id}({given})" if given else self.id

    @property
    def version(self) -> str:
        """The environment's version, the end of its id."""
        return self.id.rpartition("-v")[2]

    @property
    def digest(self) -> str:
        """Hash of everything that makes results comparable; 16 hexadecimal digits."""
        content: list[Any] = [self.id, self.arguments, self.version, self.seeds, self.tasks]
        if self.edition > 1:
            content.append(self.edition)
        return _digest(json.dumps(content, sort_keys=True))

    @property
    def is_current(self) -> bool:
        """Whether this version of Ludus plays these tasks, and not a later edition of them."""
        return self.edition == EDITIONS.get(self.id, 1)

    def first(self, count: int) -> "TaskSet":
        return replace(self, seeds=self.seeds[:count], tasks=self.tasks[:count])


@dataclass(frozen=True, slots=True)
class TaskList:
    sets: tuple[TaskSet, ...]

    @property
    def digest(self) -> str:
        """The same for two lists of the same tasks, in whatever order their environments stand."""
        return _digest(" ".join(sorted(task_set.digest for task_set in self.sets)))

    @property
    def starts(self) -> list[tuple[int, int]]:
        """Every task, in the order of play: (index of its set, index within the set)."""
        return [(i, j) for i, task_set in enumerate(self.sets) for j in range(len(task_set.seeds))]

    def to_json(self) -> str:
        sets = [
            {
                "id": task_set.id,
                "arguments": task_set.arguments,
                "version": task_set.version,
                "edition": task_set.edition,
                "hash": task_set.digest,
                "seeds": task_set.seeds,
                "tasks": task_set.tasks,
            }
            for task_set in self.sets
        ]
        return json.dumps({"hash": self.digest, "environments": sets}, indent=1) + "\n"


class ShardError(UserError):
    """A shard is not written as one."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shares of a task list, `number` from 1: every `count`-th task, with all its repeats."""

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> "Shard":
        """
        Raises:
            ShardError: it is not of the form `i/n` with i from 1 to n.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ShardError(f"--shard {text}: write i/n, the i-th of n shards, such as 1/4")
        return cls(int(match[1]), int(match[2]))

    def __contains__(self, task: int) -> bool:
        return task % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def read_tasks(text: str, name: str) -> TaskList:
    """A task list from its JSON; error messages call it `name`.

    Raises:
        TaskListError: it is not a task list, or its hash does not match its content.
    """
    try:
        content = json.loads(text)
        sets = tuple(
            TaskSet(
                str(entry["id"]),
                dict(entry["arguments"]),
                tuple(map(int, entry["seeds"])),
                tuple(entry["tasks"]),
                int(entry.get("edition", 1)),
            )
            for entry in content["environments"]
        )
        stated = content["hash"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TaskListError(
            f"{name} is not a task list ({type(error).__name__}: {error}): restore it, or begin a new run"
        ) from None
    read = TaskList(sets)
    if read.digest != stated:
        raise TaskListError(
            f"{name} was edited: its content has the hash {read.digest}, it says {stated}; restore it"
        )
    return read


def make_tasks(spec: EnvironmentSpec, count: int, begun: TaskSet | None = None) -> TaskSet:
    """The first `count` different tasks that an environment gives from `FIRST_SEED` on.

    Args:
        begun: tasks found by an earlier call, to continue from.

    Raises:
        TaskListError: the environment does not have that many different tasks.
    """
    seeds, tasks = (list(begun.seeds), list(begun.tasks)) if begun else ([], [])
    known, fruitless = {*tasks}, 0
    seed = seeds[-1] + 1 if seeds else FIRST_SEED
    env = spec.make()
    try:
        while len(tasks) < count:
            _, info = env.reset(seed=seed)
            task = str(info.get("task", seed))
            if task in known:
                fruitless += 1
                if fruitless == _FRUITLESS:
                    raise TaskListError(
                        f"{spec.id} has only {len(tasks)} different tasks with these arguments: "
                        f"ask for --n {len(tasks)} at most"
                    )
            else:
                fruitless = 0
                known.add(task)
                tasks.append(task)
                seeds.append(seed)
            seed += 1
    finally:
        env.close()
    return TaskSet(spec.id, spec.arguments, tuple(seeds), tuple(tasks), EDITIONS.get(spec.id, 1))


def require_current(tasks: TaskList) -> None:
    """
    Raises:
        TaskListError: the tasks are of an edition that this version of Ludus does not play.
    """
    for task_set in tasks.sets:
        if not task_set.is_current:
            raise TaskListError(
                f"{task_set.id}: the run was begun on edition {task_set.edition} of its tasks, and this "
                f"version of Ludus plays edition {EDITIONS.get(task_set.id, 1)}: finish it with the version "
                "that began it, or begin another run; compare still reads what it has"
            )


def tasks_for(
    specs: Iterable[EnvironmentSpec], count: int | None, default: int, note: Callable[[str], None]
) -> TaskList:
    """The tasks of a run: the frozen ones, and new ones where there are too few.

    Args:
        count: tasks per environment; None takes all frozen ones, or `default` if there are none.
        note: receives a message about each list that had to be made.
    """
    sets = []
    for spec in specs:
        frozen = frozen_tasks().get(_key(spec))
        wanted = count or (len(frozen.seeds) if frozen else default)
        if frozen is None or len(frozen.seeds) < wanted:
            have = f"{len(frozen.seeds)} tasks are frozen" if frozen else "no tasks are frozen"
            note(f"{spec.id}: {have}, so the list of {wanted} is made now")
            sets.append(make_tasks(spec, wanted, frozen))
        else:
            sets.append(frozen.first(wanted))
    return TaskList(tuple(sets))


@cache
def frozen_tasks() -> Mapping[str, TaskSet]:
    """All frozen task sets that the package ships, by environment and arguments."""
    folder = files("ludus.agents.bench").joinpath("tasks")
    lists = [
        read_tasks(file.read_text(encoding="utf-8"), file.name)
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".json")
    ]
    return {_key(task_set.spec): task_set for tasks in lists for task_set in tasks.sets}


def write_tasks(path: Path, sets: Sequence[TaskSet]) -> Path:
    return write_file(path, TaskList(tuple(sets)).to_json())


def _key(spec: EnvironmentSpec) -> str:
    return json.dumps([spec.id, spec.arguments], sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
