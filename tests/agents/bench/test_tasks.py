"""Task lists: distinct tasks, the same for everybody, and a hash that shows when they are not."""

import json
from dataclasses import replace
from importlib.resources import files

import pytest

from ludus.agents.bench.suites import SUITES, SuiteError, choose, suite
from ludus.agents.bench.tasks import (
    FIRST_SEED,
    TaskList,
    TaskListError,
    frozen_tasks,
    make_tasks,
    read_tasks,
    require_current,
    tasks_for,
)
from ludus.agents.rollout import EnvironmentSpec

ARITHMETIC = EnvironmentSpec("ludus/Arithmetic-v0", {"digits": 1})


def test_a_list_has_no_task_twice_and_is_the_same_each_time() -> None:
    made = make_tasks(ARITHMETIC, 60)
    assert len({*made.tasks}) == len(made.seeds) == 60
    assert min(made.seeds) >= FIRST_SEED
    assert make_tasks(ARITHMETIC, 60) == made
    assert make_tasks(ARITHMETIC, 60, made.first(20)) == made


def test_an_environment_that_runs_out_of_tasks_is_named() -> None:
    spec = EnvironmentSpec("ludus/Arithmetic-v0", {"digits": 1, "operations": ["divide"]})
    with pytest.raises(TaskListError, match=r"Arithmetic-v0 has only \d+ different tasks"):
        make_tasks(spec, 5000)


def test_the_hash_tells_every_difference_but_the_order_of_environments() -> None:
    a = make_tasks(ARITHMETIC, 3)
    b = make_tasks(EnvironmentSpec("ludus/PacManChat-v0"), 3)
    digest = TaskList((a, b)).digest
    assert TaskList((b, a)).digest == digest
    others = [
        replace(a, arguments={"digits": 2}),
        replace(a, id="ludus/Arithmetic-v1"),
        replace(a, seeds=(*a.seeds[:2], 9)),
        replace(a, tasks=(*a.tasks[:2], "9*9")),
        a.first(2),
    ]
    assert len({digest, *(TaskList((other, b)).digest for other in others)}) == 6


def test_a_list_survives_its_file_and_an_edited_file_is_refused() -> None:
    tasks = TaskList((make_tasks(ARITHMETIC, 4),))
    assert read_tasks(tasks.to_json(), "x.json") == tasks
    content = json.loads(tasks.to_json())
    content["environments"][0]["seeds"][0] += 1
    with pytest.raises(TaskListError, match=r"x.json was edited"):
        read_tasks(json.dumps(content), "x.json")
    for text in ("", "[]", "{}", tasks.to_json()[:-30]):
        with pytest.raises(TaskListError, match=r"x.json is not a task list"):
            read_tasks(text, "x.json")


def test_every_suite_is_frozen_and_its_first_task_is_still_what_the_list_says() -> None:
    for spec in dict.fromkeys(json.dumps([s.id, s.arguments]) for specs in SUITES.values() for s in specs):
        id, arguments = json.loads(spec)
        frozen = frozen_tasks()[json.dumps([id, arguments], sort_keys=True)]
        assert len(frozen.seeds) == len({*frozen.tasks}) == 100
        if not id.startswith(("ludus/Code", "ludus/Data")):  # those need a sandbox
            assert make_tasks(frozen.spec, 1).tasks == frozen.tasks[:1], id


def test_a_frozen_list_is_cut_to_n_and_one_that_is_too_short_is_made_longer() -> None:
    spec, notes = EnvironmentSpec("ludus/Arithmetic-v0"), list[str]()
    (whole,) = tasks_for([spec], None, 100, notes.append).sets
    (few,) = tasks_for([spec], 7, 100, notes.append).sets
    assert few == whole.first(7)
    assert notes == []
    (more,) = tasks_for([spec], 130, 100, notes.append).sets
    assert more.first(100) == whole
    assert len(more.seeds) == 130
    assert "made now" in notes[0]


def test_suites_and_ids_can_be_mixed_and_nothing_comes_twice() -> None:
    specs, by_id = suite("tools, ludus/PacMan-v0 ,math")
    ids = [spec.id for spec in specs]
    assert ids.count("ludus/MathTool-v0") == 1
    assert "ludus/PacMan-v0" in ids
    assert not by_id
    assert {spec.id for spec in suite("all")[0]} >= {spec.id for specs in SUITES.values() for spec in specs}


@pytest.mark.parametrize(
    ("text", "said"),
    [("toools", "did you mean tools"), ("Searc-v0", "did you mean ludus/Search-v0"), (" ,", "name a suite")],
)
def test_an_unknown_suite_gets_a_suggestion(text: str, said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        choose(text)


def test_what_cannot_run_here_is_left_out_of_a_suite_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from ludus.agents.bench import suites

    def broken(spec: EnvironmentSpec) -> None:
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing")

    ok = EnvironmentSpec("ludus/Arithmetic-v0")
    bad = EnvironmentSpec("ludus/PacManChat-v0")
    monkeypatch.setattr(suites, "SUITES", {"mine": (ok, bad)})
    make = EnvironmentSpec.make
    monkeypatch.setattr(EnvironmentSpec, "make", lambda spec: broken(spec) if spec == bad else make(spec))
    chosen = choose("mine")
    assert chosen.specs == (ok,)
    assert chosen.left_out == {bad.id: "nothing is not installed"}
    with pytest.raises(SuiteError, match="PacManChat-v0 cannot run here: nothing is not installed"):
        choose(bad.id)


def test_tasks_of_an_earlier_edition_are_known_as_such_and_not_played() -> None:
    earlier = files("ludus.agents.bench").joinpath("tasks/earlier/tools-1.json")
    first = read_tasks(earlier.read_text(encoding="utf-8"), "tools-1.json")
    assert first.digest == "6d8128f35f020c96"
    (now,) = tasks_for([EnvironmentSpec("ludus/Weather-v0")], None, 100, lambda note: None).sets
    assert now.edition == 2
    assert now.is_current
    assert now.digest not in {task_set.digest for task_set in first.sets}
    assert read_tasks(TaskList((now,)).to_json(), "now.json").sets == (now,)
    with pytest.raises(TaskListError, match=r"ludus/Search-v0: the run was begun on edition 1 of its tasks"):
        require_current(first)
    require_current(TaskList((now,)))
