"""A benchmark's folder: what it records, and whether a run may continue in it.

bench.json          model, agent, sampling, repeats, versions, hash of the tasks: the identity of the run
tasks.json          the task list
journal.jsonl       every finished episode, appended as it ends
notes.txt           what the server made different, one note a line
results.json        the table, with intervals
results.jsonl       one line per episode: its metrics
episodes/*.parquet  one file per environment
report.html
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ludus.agents.bench.journal import read_journal
from ludus.agents.bench.result import Result, measure
from ludus.agents.bench.tasks import Shard, TaskList, read_tasks
from ludus.agents.episode import Episode
from ludus.agents.formats.calls.reply import whole_characters
from ludus.agents.journal import Journal
from ludus.tools.errors import UserError
from ludus.tools.files import write_file

SETTINGS, TASKS, JOURNAL = "bench.json", "tasks.json", "journal.jsonl"
NOTES = "notes.txt"
RESULTS, LINES, EPISODES, REPORT = "results.json", "results.jsonl", "episodes", "report.html"
_PACKAGES = ("ludus", "gymnasium", "numpy", "torch", "transformers", "vllm")

OUTSIDE = "outside"
"""The agent of a run that was played from outside, which has no plan."""


class BenchError(UserError):
    """A benchmark's folder cannot be used: it belongs to another run, is damaged, or does not exist."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The identity of a run. All of it must match to continue the run."""

    suite: str
    model: str
    agent: str
    temperature: float
    max_tokens: int
    seed: int
    n: int | None
    """Requested tasks per environment; None: all frozen ones."""
    repeats: int
    tasks: str
    """Hash of the task list."""
    ludus: str
    """Version of Ludus."""
    shard: str = ""
    """`i/n` if the run plays a share of the tasks."""
    options: dict[str, Any] = field(default_factory=dict)
    """What else was asked for: `PlayerChoice.recorded`, and `arguments` of the environments."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A benchmark's folder, opened."""

    path: Path
    settings: Settings
    tasks: TaskList
    left_out: dict[str, str]
    """Environments of the suite that could not run, and why."""
    versions: dict[str, str]
    begun: str
    """The date on which the run began."""

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    @property
    def notes(self) -> list[str]:
        """What was told while the run was played, and belongs beside its figures."""
        path = self.path / NOTES
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def note(self, text: str) -> bool:
        """Keep a note, unless it is there already; whether it is new."""
        line = whole_characters(" ".join(text.split()))
        if line in self.notes:
            return False
        with open(self.path / NOTES, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        return True

    @property
    def own_tasks(self) -> list[int]:
        """The tasks that this run plays, as indices of `TaskList.starts`: all, unless it is a shard."""
        tasks = range(len(self.tasks.starts))
        shard = Shard.read(self.settings.shard) if self.settings.shard else None
        return [task for task in tasks if shard is None or task in shard]

    def unplayed(self, results: Sequence[Result]) -> int:
        """How many episodes of the run's plan are not among the results."""
        if self.settings.agent == OUTSIDE:
            return 0
        return len(self.own_tasks) * self.settings.repeats - len(results)

    @property
    def is_begun(self) -> bool:
        """Whether anything has been played."""
        return self.journal.exists() and self.journal.stat().st_size > 0

    def episodes(self) -> list[Episode]:
        """The finished episodes, in the order of the task list and its repeats. Of an episode that faulted
        and was played again, the last attempt."""
        latest = {(episode.group, episode.sample): episode for episode in read_journal(self.journal)}
        return [latest[place] for place in sorted(latest)]

    def episodes_by_set(self) -> list[list[Episode]]:
        """The finished episodes of each task set."""
        starts = self.tasks.starts
        found: list[list[Episode]] = [[] for _ in self.tasks.sets]
        for episode in self.episodes():
            found[starts[episode.group][0]].append(episode)
        return found

    def results(self) -> list[Result]:
        return [measure(episode) for episode in self.episodes()]


def begin(path: Path, settings: Settings, tasks: TaskList, left_out: dict[str, str]) -> Folder:
    """Create the folder of a new run.

    Raises:
        BenchError: `path` is something else.
        OSError: it cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(file for file in path.iterdir() if file.name != JOURNAL)):
        raise BenchError(f"{path} is not empty and not a benchmark's folder: choose another one")
    folder = Folder(path, settings, tasks, left_out, _versions(), date.today().isoformat())
    path.mkdir(parents=True, exist_ok=True)
    write_file(path / TASKS, tasks.to_json())
    about = {
        "settings": {name: getattr(settings, name) for name in settings.__slots__},
        "left_out": left_out,
        "versions": folder.versions,
        "begun": folder.begun,
    }
    # Written last: a folder that has this file is a run.
    write_file(path / SETTINGS, json.dumps(about, indent=1) + "\n")
    return folder


def open_folder(path: Path) -> Folder:
    """
    Raises:
        BenchError: there is no run in it, or one of its files is damaged.
    """
    try:
        about: dict[str, Any] = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        settings = Settings(**about["settings"])
        tasks = read_tasks((path / TASKS).read_text(encoding="utf-8"), str(path / TASKS))
        folder = Folder(path, settings, tasks, about["left_out"], about["versions"], about["begun"])
    except FileNotFoundError as missing:
        raise BenchError(
            f"{path} is not a benchmark's folder: it lacks {Path(missing.filename or '').name}; "
            "`ludus bench SUITE --model MODEL` makes one"
        ) from None
    except NotADirectoryError:
        raise BenchError(f"{path} is a file, not a benchmark's folder") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BenchError(
            f"{path / SETTINGS} is damaged ({type(error).__name__}: {error}): restore it, or begin a new "
            f"run; the episodes in {JOURNAL} are untouched"
        ) from None
    if tasks.digest != settings.tasks:
        raise BenchError(
            f"{path / TASKS} has the hash {tasks.digest}, {SETTINGS} says {settings.tasks}: restore the one "
            "that was changed"
        )
    return folder


def abandon(folder: Folder) -> None:
    """Discard a run in which nothing has been played (say, its model did not load), so that another may begin
    in the folder.

    Raises:
        UserError: another process is using it.
    """
    with Journal(folder.journal):
        for name in (SETTINGS, TASKS):
            (folder.path / name).unlink()


def require_same(folder: Folder, wanted: Settings) -> None:
    """
    Raises:
        BenchError: the run in the folder has other settings; each is named.
    """
    differences = [
        f"{name.replace('_', '-')} {getattr(folder.settings, name)!r}, not {getattr(wanted, name)!r}"
        for name in wanted.__slots__
        if getattr(folder.settings, name) != getattr(wanted, name)
    ]
    if differences:
        raise BenchError(
            f"{folder.path} holds another run ({'; '.join(differences)}): repeat its settings to continue "
            "it, or give this one a folder of its own with --out"
        )


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    return write_file(path, "".join(json.dumps(row) + "\n" for row in rows))


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
