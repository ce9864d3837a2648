"""Worlds of tables: read as the dictionary says, the dirty files give what the references say; each rule
counts."""

import contextlib
import io
import itertools
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ludus.envs.code.analysis.answers import Value
from ludus.envs.code.analysis.solutions import solution
from ludus.envs.code.analysis.tasks import (
    KINDS,
    WORLDS,
    Case,
    Task,
    draw_task,
    given_case,
    other_case,
    recognise,
)


def tasks_of(kind: str, count: int, rows: int = 150) -> list[Task]:
    rng = np.random.default_rng(7)
    found = (draw_task(rng, (kind.partition("/")[0],), rows) for _ in itertools.count())
    return list(itertools.islice((task for task in found if task.kind == kind), count))


def answered(program: str, task: Task, case: Case, folder: Path) -> Value | None:
    """The answer of one of our programs, run in this process; None if it fails."""
    for file in folder.iterdir():
        file.unlink()
    for name, data in case.files.items():
        (folder / name).write_bytes(data)
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        try:
            exec(compile(program, "program", "exec"), {"__name__": "__main__"})
        except (ValueError, KeyError, IndexError, TypeError):
            return None
    return KINDS[task.kind].form.read(said.getvalue())


def right(program: str, task: Task, case: Case, folder: Path) -> bool:
    value = answered(program, task, case, folder)
    return value is not None and KINDS[task.kind].form.same(value, case.expected)


def test_there_are_enough_kinds_of_every_type() -> None:
    assert len(WORLDS) == 4
    assert len(KINDS) == 21
    assert {kind.form.kind for kind in KINDS.values()} == {"integer", "decimal", "text", "date", "list"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_clean_reading_of_the_files_gives_the_reference(kind: str, tmp_path: Path) -> None:
    for task in tasks_of(kind, 6):
        program = solution(kind, dict(task.parameters))
        for case in (given_case(task), other_case(task)):
            assert right(program, task, case, tmp_path), task.key


@given(seed=st.integers(0, 2**63), rows=st.integers(80, 300))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_task_has_one_answer_and_another_on_other_numbers(seed: int, rows: int, tmp_path: Path) -> None:
    task = draw_task(np.random.default_rng(seed), tuple(WORLDS), rows)
    kind, parameters = recognise(f"Files: …\n\nQuestion: {task.question}\n\nThe answer is …")
    assert (kind.name, parameters) == (task.kind, dict(task.parameters))
    first, second = given_case(task), other_case(task)
    assert not kind.form.same(first.expected, second.expected)
    assert first.files.keys() == second.files.keys()
    for case in (first, second):
        assert right(solution(kind.name, parameters), task, case, tmp_path)
    assert pickle.loads(pickle.dumps(task)) == task


def test_tables_follow_from_the_task_alone() -> None:
    for kind in KINDS:
        (task,) = tasks_of(kind, 1)
        before = given_case(task), other_case(task)
        given_case.cache_clear()
        other_case.cache_clear()
        assert (given_case(task), other_case(task)) == before


def test_the_dictionary_names_every_file_and_table() -> None:
    for kind in KINDS:
        (task,) = tasks_of(kind, 1)
        for name, data in given_case(task).files.items():
            assert name in task.world.dictionary
            if name == task.world.database:
                connection = sqlite3.connect(":memory:")
                connection.deserialize(data)
                for (table,) in connection.execute("SELECT name FROM sqlite_master"):
                    assert f"{table} (" in task.world.dictionary


# Programs that each miss one rule of the dictionary: (world, code in the solution, its replacement).
CARELESS = [
    ("shop", 'orders[row["order_id"]] = row', 'orders.setdefault(row["order_id"], row)', 0.2),
    ("shop", ".astimezone(timezone.utc)", ".replace(tzinfo=timezone.utc)", 0.1),
    ("shop", "float(text[:-2]) / 100", "float(text[:-2])", 0.4),
    ("shop", "ORDER BY updated", "ORDER BY updated DESC", 0.1),
    ("shop", '" ".join(text.split()).lower()', "text", 0.5),
    ("shop", 'text.replace(",", ".")', 'text.replace(",", "")', 0.4),
    ("weather", "readings.setdefault((row[{0}], row[{1}]), row)", "readings[row[{0}], row[{1}]] = row", 0.2),
    ("weather", "(degrees - 32) / 1.8", "degrees", 0.4),
    ("weather", "correction.get(sensor, 0)", "0", 0.3),
    ("weather", "- offset[sensor], degrees", ", degrees", 0.05),
    ("weather", '("", "nan", "-999")', '("", "nan")', 0.4),
    (
        "club",
        '    if row["runner"] in team:',
        "    team.setdefault(row['runner'], 'none')\n    if True:",
        0.02,
    ),
    ("club", 'runs[row["run_id"]] = row', "runs[len(runs)] = row", 0.4),
    ("club", "float(distance[:-1]) / 1000", "float(distance[:-1])", 0.4),
    ("club", ".astimezone(timezone.utc)", ".replace(tzinfo=timezone.utc)", 0.1),
    ("library", 'row["loan_id"] not in loans or row["returned"]', 'row["loan_id"] not in loans', 0.1),
    ("library", "ORDER BY edition", "ORDER BY edition DESC", 0.05),
    ("library", '"%d.%m.%Y"', '"%m.%d.%Y"', 0.4),
    ("library", "float(text[:-2]) / 100", "float(text[:-2])", 0.1),
]


@pytest.mark.parametrize(("world", "old", "new", "least"), CARELESS, ids=lambda value: str(value)[:30])
def test_every_rule_of_the_dictionary_counts(
    world: str, old: str, new: str, least: float, tmp_path: Path
) -> None:
    old, new = (text.replace("{0}", '"sensor"').replace("{1}", '"time"') for text in (old, new))
    wrong = []
    for kind in (kind.name for kind in WORLDS[world].kinds):
        for task in tasks_of(kind, 4):
            program = solution(kind, dict(task.parameters))
            assert old in program
            wrong.append(not right(program.replace(old, new), task, given_case(task), tmp_path))
    assert sum(wrong) / len(wrong) >= least, f"only {sum(wrong)} of {len(wrong)} wrong"
