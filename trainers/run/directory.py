"""A run's folder: created once, resumed only with the configuration it began with, used by one process at a
time."""

import datetime
import fcntl
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ludus.tools.checksums import is_damaged_text, sealed_text
from ludus.tools.files import sweep
from ludus.trainers.config.reading import load_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.disk import disk_errors, write_file
from ludus.trainers.errors import ConfigError, RunError


def initial_folder(run: Path) -> Path:
    """What priming began with, where it could not be made again: the small model, since a later version may
    build another tokenizer from other texts; an adapter, which also knows which base it is of."""
    return run / "models" / "initial"


def primed_folder(run: Path) -> Path:
    return run / "models" / "primed"


def rft_folder(run: Path) -> Path:
    """The model after rejection sampling, where more follows."""
    return run / "models" / "rft"


def preferred_folder(run: Path) -> Path:
    """The model after training on preferences, where GRPO follows."""
    return run / "models" / "preferred"


def best_folder(run: Path) -> Path:
    """The weights that did best in validation."""
    return run / "models" / "best"


def reference_folder(run: Path, step: int) -> Path:
    """The policy after a step, from which divergence was measured from then on."""
    return run / "models" / f"reference-{step:06d}"


def reference_folders(run: Path) -> list[tuple[int, Path]]:
    """Those that are there, each with its step."""
    return _numbered(run, "reference")


def _numbered(run: Path, kind: str) -> list[tuple[int, Path]]:
    found = sorted((run / "models").glob(f"{kind}-[0-9]*"))
    return [(int(folder.name.rpartition("-")[2]), folder) for folder in found]


def league_folder(run: Path, step: int) -> Path:
    """The policy after a step, from which on it is a member of the league."""
    return run / "models" / f"league-{step:06d}"


def league_folders(run: Path) -> list[tuple[int, Path]]:
    """Those that are there, each with its step."""
    return _numbered(run, "league")


def critic_folder(run: Path) -> Path:
    """The value model that was trained beside the policy."""
    return run / "models" / "critic"


def reward_folder(run: Path) -> Path:
    """The reward model that was trained in the place of a policy."""
    return run / "models" / "reward"


def final_folder(run: Path) -> Path:
    return run / "models" / "final"


def step_file(run: Path, step: int) -> Path:
    """The episodes of a GRPO step, counted from 1, where they are stored."""
    return run / "episodes" / f"train-{step:06d}.parquet"


def stored_steps(run: Path) -> list[int]:
    """The steps whose episodes are stored."""
    found = (run / "episodes").glob("train-[0-9]*.parquet")
    return sorted(int(file.stem.removeprefix("train-")) for file in found)


def run_config(run: Path) -> RunConfig:
    """The configuration that a run began with.

    Raises:
        ConfigError: as `load_config`.
        RunError: if the file is not as it was written.
    """
    path = run / "config.toml"
    config = load_config(path)
    if is_damaged_text(path.read_text(encoding="utf-8")):
        raise RunError(
            f"{path} is not what the run wrote there (its checksum differs): it was edited or damaged; copy "
            "the run's configuration back"
        )
    return config


_BEGUN = "# begun on {}\n"


def begun_on(run: Path) -> datetime.date:
    """The day on which a run began, which is written above its configuration."""
    text = (run / "config.toml").read_text(encoding="utf-8")
    found = re.search(_BEGUN.format(r"(\d{4}-\d\d-\d\d)"), text)
    return datetime.date.fromisoformat(found[1]) if found else datetime.date.today()


@contextmanager
def open_run(config: RunConfig, run: Path, resume: bool) -> Iterator[Path]:
    """Create a run's folder, or check that the existing one belongs to this run. Inside the context, no other
    process may open it.

    Raises:
        RunError: if the folder holds a run and `resume` is false, if there is no run to resume, or if another
            process is at work on it.
        ConfigError: if the run began with another configuration, `[trust]` aside.
    """
    written = run / "config.toml"
    if resume:
        if not written.exists():
            raise RunError(
                f"{run}: there is no run to resume (it has no config.toml); begin it without --resume"
            )
        _refuse_changes(config, run_config(run), written)
        with _alone(run):
            sweep(run)
            yield run
        return
    with disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    with _alone(run):
        # A run that failed before it trained anything, say on a wrong model path, may begin again, corrected.
        if any(path != written for path in run.iterdir()):
            raise RunError(
                f"{run} exists already and would be overwritten; go on with it by --resume, or choose "
                "another name or folder"
            )
        begun = _BEGUN.format(datetime.date.today())
        write_file(written, sealed_text(begun + config.to_toml()))
        yield run


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Holds a lock on the run's folder, which the system releases when the process ends, however it ends."""
    folder = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{run}: another process is at work on this run; wait until it ends, or stop it, or choose "
                "another name or folder"
            ) from None
        except OSError:
            pass  # a file system without locks: nobody can be kept out there
        yield
    finally:
        os.close(folder)


def _refuse_changes(config: RunConfig, begun: RunConfig, written: Path) -> None:
    """`[trust]` may be another: it decides when a run stops, not what is trained."""
    # Through TOML, which has no tuples: one that was given from Python is a list in the file.
    now, then = (_values(tomllib.loads(given.to_toml())) for given in (config, begun))
    for key in then | now:
        if not key.startswith("trust.") and now.get(key, _ABSENT) != then.get(key, _ABSENT):
            raise ConfigError(
                f"{key} = {now.get(key, _ABSENT)!r}, but the run began with {then.get(key, _ABSENT)!r}: "
                "resumed so, it would be neither the one nor the other; resume with "
                f"{written}, or begin a new run"
            )


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_ABSENT = _Absent()


def _values(config: dict[str, Any]) -> dict[str, Any]:
    """The values by `TABLE.KEY`; several tables of one name as one value."""
    values: dict[str, Any] = {}
    for section, table in config.items():
        if isinstance(table, dict):
            values |= {f"{section}.{key}": value for key, value in table.items()}
        else:
            values[section] = table
    return values
