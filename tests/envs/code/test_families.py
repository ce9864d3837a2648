"""The families of programming tasks: their texts, how much they vary, and that their references are right."""

import json
import pickle
from itertools import combinations
from random import Random
from typing import Any

import pytest

from ludus.envs.code.function.families import FAMILIES, TOPICS, Family, Task, draw, family, run_trusted
from ludus.envs.code.function.judge import same
from ludus.envs.code.function.scripted import read, solution

every_family = pytest.mark.parametrize("tasks", FAMILIES.values(), ids=FAMILIES)


def drawn(tasks: Family, count: int, difficulty: int = 3) -> list[Task]:
    return [draw(tasks, Random(seed), difficulty) for seed in range(count)]


def plain(value: Any) -> bool:
    """Whether a value survives a round trip through JSON."""
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


def solves(source: str, task: Task) -> bool:
    """Whether one of our programs solves a task; if made for another task, it may raise."""
    try:
        given = run_trusted(source, task.family.function, task.hidden.inputs)
    except Exception:
        return False
    return all(map(same, task.hidden.answers, given))


def test_there_are_enough_of_them_and_those_that_were_asked_for() -> None:
    assert len(FAMILIES) >= 40
    assert {"bird", "ball", "bowling", "life"} <= set(FAMILIES)
    assert set(TOPICS) == {
        *("basics", "strings", "parsing", "numbers", "search", "dynamic", "graphs", "simulation", "games"),
    }
    assert sum(tasks.timed is not None for tasks in FAMILIES.values()) >= 5
    assert not set(FAMILIES) & set(TOPICS)


@every_family
def test_a_task_is_complete(tasks: Family) -> None:
    for task in drawn(tasks, 25):
        public, hidden = task.public, task.hidden
        assert len(public.inputs) == 3
        assert len(hidden.inputs) >= 6
        shown = [json.dumps(inputs) for inputs in (*public.inputs, *hidden.inputs)]
        assert len(set(shown)) == len(shown), "a hidden case is shown, or comes twice"
        assert all(map(plain, (*public.answers, *hidden.answers)))
        everything = [json.dumps(answer) for answer in (*public.answers, *hidden.answers)]
        assert len(set(everything)) > 1, "a constant solves it"
        edges = {json.dumps(edge) for edge in tasks.edges(tasks.values(task.choices))}
        assert edges <= set(shown)
        assert "$" not in task.question


@every_family
def test_the_oracle_finds_the_solution_in_the_text(tasks: Family) -> None:
    for difficulty in (1, 2, 3):
        for task in drawn(tasks, 15, difficulty):
            question = read([{"role": "user", "content": task.question}])
            assert question.signature == tasks.signature
            assert solution(question) == tasks.source(task.choices)
            assert len(question.examples) == 3


@every_family
def test_what_is_asked_for_varies_with_the_seed(tasks: Family) -> None:
    played = drawn(tasks, 60)
    by_key = {task.key: task for task in played}
    assert len(by_key) >= 12
    # A memorised solution fails on a different task.
    pairs = list(combinations(list(by_key.values())[:8], 2))
    fails = sum(not solves(tasks.source(known.choices), asked) for known, asked in pairs)
    assert fails >= 0.8 * len(pairs)


@every_family
def test_a_task_follows_from_the_seed_alone(tasks: Family) -> None:
    task = draw(tasks, Random(5))
    first = task.question, task.hidden
    family._cases.cache_clear()
    again = pickle.loads(pickle.dumps(draw(tasks, Random(5))))
    assert again == task
    assert (again.question, again.hidden) == first


@every_family
def test_easier_tasks_are_among_the_harder_ones(tasks: Family) -> None:
    for difficulty in (1, 2):
        for task in drawn(tasks, 20, difficulty):
            for slot, choice in zip(tasks.slots.values(), task.choices, strict=True):
                options = list(map(str, slot))
                assert options.index(choice) < len(options) * difficulty / 3 + 1


def test_the_key_is_that_of_what_is_asked_not_of_the_examples() -> None:
    tasks = FAMILIES["linear"]
    one, other = (Task(tasks, ("3", "plus", "2"), seed) for seed in (1, 2))
    assert one.question != other.question
    assert one.key == other.key
    assert one.key != Task(tasks, ("3", "minus", "2"), 1).key


def test_basics_are_one_line_each() -> None:
    for name in TOPICS["basics"]:
        for task in drawn(FAMILIES[name], 5):
            source = FAMILIES[name].source(task.choices)
            assert "\n" not in source
            assert len(source) < 60
            assert len(task.question.splitlines()[0]) < 70


@pytest.mark.parametrize("name", [name for name, tasks in FAMILIES.items() if tasks.timed])
def test_the_slow_solution_gives_the_same_answers(name: str) -> None:
    tasks = FAMILIES[name]
    assert "too slow" in tasks.spec
    for task in drawn(tasks, 20):
        cases = task.hidden
        assert run_trusted(tasks.slow_source(task.choices), tasks.function, cases.inputs) == cases.answers


EDGELESS = ", and the edges of the grid touch, left and right, top and bottom"
SPEED = "the height and the speed at the end"
FROM_LEFT = "No sign binds tighter than another: work from left to right."
MULTIPLY_FIRST = "Multiply first; then work from left to right."
SNAKE = (
    "If its head leaves the board, the game ends",
    "the number of moves before the one that ended the game (of all moves if none did)",
)
# Worked out by hand.
WORKED: list[tuple[str, tuple[str, ...], tuple[Any, ...], Any]] = [
    ("bowling", ("10", "", ""), ([10] * 12,), 300),
    ("bowling", ("10", "", ""), ([5] * 21,), 150),
    ("bowling", ("10", "", ""), ([10, 7, 3, 9, 0, 10, 0, 8, 8, 2, 0, 6, 10, 10, 10, 8, 1],), 167),
    (
        "life",
        ("; beyond the edge all are dead", "3", "2 or 3", "1"),
        (["...", "###", "..."],),
        [".#.", ".#.", ".#."],
    ),
    (
        "life",
        (EDGELESS, "3", "2 or 3", "1"),
        (["....", "#..#", "....", "...."],),
        ["....", "....", "....", "...."],
    ),
    ("bird", ("4", "1", "5", "20", SPEED), (5, 0, [False, False, True]), [6, 4]),
    ("bird", ("4", "3", "5", "20", SPEED), (5, 0, [False] * 3), [0, -5]),
    ("bird", ("4", "1", "5", "12", SPEED), (11, 0, [True]), [12, 0]),
    ("ball", ("100", "10", "5"), (1.0, 0.0, 2), [0.7, -2.0]),
    ("ball", ("100", "10", "5"), (0.0, 0.0, 1), [0.05, 0.5]),
    ("edits", ("1", "1", "2", ""), ("kitten", "sitting"), 5),
    ("coins", ("5", "6", "10", "the smallest number of coins", "-1"), (18,), 3),
    ("coins", ("5", "6", "10", "the smallest number of coins", "-1"), (13,), -1),
    ("take-away", ("1", "4", "6", "cannot take any more loses"), (5,), 0),
    ("take-away", ("1", "4", "6", "cannot take any more loses"), (2,), 0),
    ("take-away", ("1", "4", "6", "cannot take any more loses"), (3,), 1),
    ("numeral", ("16", "_", "None"), ("-F_f",), -255),
    ("duration", ("8", "60", "minutes"), ("1d2h5m",), 605),
    ("work-out", (MULTIPLY_FIRST, "100"), ("2 + 3 * 4 - 5",), 9),
    ("work-out", (FROM_LEFT, "100"), ("2 + 3 * 4 - 5",), 15),
    ("shift-letters", ("every letter", "13", "further"), ("Uryyb, Mbb!",), "Hello, Zoo!"),
    ("fence", ("3", "top", "top to bottom", "/"), ("abcdefg",), "ae/bdf/cg"),
    ("cells", (" (beyond the ends stands `.`)", "30"), ("...#...", 2), ".##..#."),
    ("cards", ("10 each", "11", "21", "0"), (["A", "A", "9"],), 21),
    ("fraction", ("1", "6", "plus"), (1, -3), [-1, 6]),
    ("snake", ("4", "second", *SNAKE), ("DRUL",), 4),
    ("snake", ("4", "second", *SNAKE), ("DDDDD",), 3),
    ("snake", ("4", "second", *SNAKE), ("RLRLRL",), 3),
]


@pytest.mark.parametrize(("name", "choices", "inputs", "answer"), WORKED, ids=lambda value: str(value)[:30])
def test_references_do_what_the_specification_says(
    name: str, choices: tuple[str, ...], inputs: tuple[Any, ...], answer: Any
) -> None:
    tasks = FAMILIES[name]
    (given,) = run_trusted(tasks.source(choices), tasks.function, (inputs,))
    assert same(answer, given), given
