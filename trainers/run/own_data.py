"""A run's own data: read for priming or for preferences, and the same again when the run is resumed."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ludus.agents.models import LoadedModel
from ludus.agents.policy import tool_schemas
from ludus.agents.rollout import EnvironmentSpec
from ludus.tools.checksums import is_damaged, sealed
from ludus.trainers.config.preferences import PreferencesSection
from ludus.trainers.config.sft import SftSection
from ludus.trainers.data.dialogue import opening_key
from ludus.trainers.data.preferences import PreferenceData, read_preferences
from ludus.trainers.data.read import Data, Reserved, Tally, read_data
from ludus.trainers.data.token_rows import TokenRows
from ludus.trainers.disk import write_file
from ludus.trainers.errors import RunError
from ludus.trainers.listener import Listener, phase
from ludus.trainers.tasks import Task

FILE, PAIRS_FILE = "data.json", "preferences.json"


def load_data(
    sft: SftSection, policy: LoadedModel, reserved: Reserved, run: Path, listener: Listener
) -> Data:
    """Read the data, tell what became of it, and keep that in `data.json`.

    Raises:
        DataError: as `read_data`.
        RunError: if the data is not what it was when the run began.
    """
    with phase(listener, "data", 0):
        data = read_data(sft, policy, reserved, lambda count: listener.progressed("data", count, {}))
        listener.note(str(data.tally))
    _keep(run / FILE, sft.data, data.tally, data.train, data.heldout)
    return data


def load_pairs(
    section: PreferencesSection, policy: LoadedModel, reserved: Reserved, run: Path, listener: Listener
) -> PreferenceData:
    """The same of pairs, in `preferences.json`.

    Raises:
        DataError: as `read_preferences`.
        RunError: if the pairs are not what they were when the run began.
    """
    data = read_preferences(section, policy, reserved)
    listener.note(str(data.tally))
    _keep(run / PAIRS_FILE, section.data, data.tally, data.train.rows, data.heldout.rows)
    return data


def _keep(record: Path, sources: Sequence[str], tally: Tally, train: TokenRows, heldout: TokenRows) -> None:
    now = {
        "sources": list(sources),
        "read": tally.read,
        "trained": tally.trained,
        "held_out": tally.held_out,
        "failed": tally.failed,
        "dropped": dict(tally.dropped),
        "tokens": train.tokens,
        "trained_tokens": train.sampled,
        "digest": f"{train.digest} {heldout.digest}",
    }
    if record.exists():
        _refuse_changes(record, now)
    write_file(record, json.dumps(sealed(now), indent=1))


def reserved_tasks(tasks: Iterable[Task], keys: Mapping[str, Collection[str]]) -> Reserved:
    """What is played to measure the policy.

    Args:
        keys: Environment id -> the tasks' keys.
    """
    openings: set[bytes] = set()
    seeds: dict[str, tuple[EnvironmentSpec, list[int]]] = {}
    for task in tasks:
        seeds.setdefault(repr(task.spec), (task.spec, []))[1].append(task.seed)
    for spec, own in seeds.values():
        with closing(spec.make()) as env:
            tools = tool_schemas(env)
            openings |= {opening_key(env.reset(seed=seed)[0], tools) for seed in own}
    return Reserved(keys, openings)


def _refuse_changes(record: Path, now: Mapping[str, Any]) -> None:
    try:
        then = json.loads(record.read_text(encoding="utf-8"))
        damaged = is_damaged(then)
    except (ValueError, TypeError):
        damaged = True
    if damaged:
        raise RunError(
            f"{record} is not what the run wrote there; it was edited or damaged, delete it to go on "
            "with the data as it is now"
        )
    if then["digest"] != now["digest"]:
        raise RunError(
            f"the data is not what it was when the run began ({then['read']:,} read then, "
            f"{then['trained']:,} to train on; {now['read']:,} and {now['trained']:,} now): put it back, or "
            "begin a new run"
        )
