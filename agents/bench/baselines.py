"""Results of the null, random and oracle agents on the same tasks: played once, then read from a cache.

The cache (see `ludus.tools.files.cache_directory`) has one file for each task set and agent, named by a hash
of the tasks and of the source of the environments, so a changed environment is played again.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import gymnasium

import ludus.envs
import ludus.tools
from ludus.agents.bench.result import Result
from ludus.agents.bench.tasks import TaskSet
from ludus.tools.files import cache_directory, write_file

BASELINES = ("null", "random", "oracle")


def baselines_of(task_set: TaskSet) -> list[str]:
    """The baselines that the environment has."""
    env = task_set.spec.make()
    env.close()
    scripted: Mapping[str, object] = getattr(env.unwrapped, "scripted", {})
    return [name for name in BASELINES if name in scripted]


def cached(task_set: TaskSet, agent: str) -> list[Result] | None:
    """The agent's results on these tasks, numbered from 0; None if they are not cached."""
    try:
        content = json.loads(_file(task_set, agent).read_text(encoding="utf-8"))
        return [Result.from_dict(result) for result in content]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        # Absent or damaged: the baseline is played and written again.
        return None


def store(task_set: TaskSet, agent: str, results: list[Result]) -> None:
    """
    Raises:
        OSError: the cache cannot be written.
    """
    write_file(_file(task_set, agent), json.dumps([result.to_dict() for result in results]))


def _file(task_set: TaskSet, agent: str) -> Path:
    return cache_directory("bench") / f"{task_set.digest}-{_source(task_set.id)}-{agent}.json"


@cache
def _source(id: str) -> str:
    """A hash of all source code that an environment may run: Ludus' environments and tools, and its own
    module."""
    folders = [Path(place) for package in (ludus.envs, ludus.tools) for place in package.__path__]
    sources = {path for folder in folders for path in folder.rglob("*.py")}
    entry = gymnasium.spec(id).entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    module = sys.modules.get(getattr(creator, "__module__", ""))
    if module is not None and module.__file__:
        sources.add(Path(module.__file__))
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
