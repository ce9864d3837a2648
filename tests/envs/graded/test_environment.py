"""`ludus/Graded-v0`: items in, episodes out; what cannot be graded rightly is left out and named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ludus  # noqa: F401
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.graded.bank import Bank, open_bank
from ludus.envs.graded.items import read_items
from ludus.envs.graded.recipe import load_recipe, preset_names
from ludus.envs.graded.split import NEAR, held_out_of, near_duplicates
from ludus.tools.errors import DataError, UserError

SUMS = [{"question": f"What is {n} plus {n + 7}?", "answer": str(2 * n + 7)} for n in range(40)]
GRADER = {"type": "number", "reference": "{{item.answer}}"}
RECIPE: dict[str, Any] = {
    "items": SUMS,
    "prompt": "{{item.question}}",
    "reference": "{{item.answer}}",
    "grader": GRADER,
}


def make(**keys: Any) -> Any:
    return gymnasium.make("ludus/Graded-v0", recipe={**RECIPE, **keys}).unwrapped


def bank(**keys: Any) -> Bank:
    return open_bank(load_recipe({**RECIPE, **keys}))


def say(env: Any, *replies: Any) -> list[tuple[str, float, bool]]:
    told = []
    for reply in replies:
        messages, reward, terminated, truncated, _ = env.step(reply)
        told.append((messages[-1]["content"], reward, terminated or truncated))
    return told


def test_one_answer_is_graded_and_ends() -> None:
    env = make(system="Numbers only.")
    messages, info = env.reset(seed=3)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert info["task"] == env.reset(seed=3)[1]["task"]
    right = env.verdict.expected
    assert say(env, right) == [("Right.", 1.0, True)]
    env.reset(seed=3)
    assert say(env, "1000") == [("Wrong.", 0.0, True)]
    assert env.verdict.failure == f"'1000' is not {right!r}"


def test_several_attempts_get_feedback_and_cost() -> None:
    env = make(attempts=3, feedback="{{sample.output_text}} is wrong.")
    env.reset(seed=0)
    told = say(env, "1000", "", env.verdict.expected)
    assert told[0] == ("1000 is wrong.", -0.02, False)
    assert told[1][1:] == (pytest.approx(-0.12), False)
    assert told[2] == ("Right.", 1.0, True)


def test_tools_are_carried_out_before_the_answer(needs_sandbox: None) -> None:
    env = make(tools=["python"])
    env.reset(seed=0)
    function = {"name": "python", "arguments": json.dumps({"code": "print(6 * 7)"})}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": function}]}
    assert [tool.name for tool in env.tools] == ["python"]
    assert say(env, call, env.verdict.expected) == [("42", 0.0, False), ("Right.", 1.0, True)]
    assert make().tools == ()


def test_seeds_from_two_to_the_32_start_held_out_items() -> None:
    env = make(held_out_share=0.25)
    sides = env.bank.training, env.bank.held_out
    assert len(sides[0]) + len(sides[1]) == len(SUMS)
    asked: list[set[str]] = [set(), set()]
    for side, first in enumerate((0, 2**32)):
        for seed in range(first, first + 400):
            asked[side].add(env.reset(seed=seed)[0][-1]["content"])
    assert asked == [{item.values["question"] for item in side} for side in sides]
    env = gymnasium.make("ludus/Graded-v0", recipe=RECIPE, split="held_out").unwrapped
    assert env.reset(seed=0)[0][-1]["content"] in asked[1]


def test_the_side_of_an_item_does_not_depend_on_the_others() -> None:
    texts = [f"question {n}" for n in range(200)]
    held = set(held_out_of(texts, 0.2))
    assert 20 <= len(held) <= 60
    assert set(held_out_of(texts[::-2], 0.2)) == held & set(texts[::-2])
    assert len(held_out_of(["a", "b"], 0.0001)) == len(held_out_of(["a", "b"], 0.9999)) == 1
    assert held_out_of(["a"], 0.5) == []


def test_near_duplicates_are_those_of_an_exhaustive_comparison() -> None:
    words = ["ada", "ben", "cy", "dot", "eve", "finn", "gus", "hal", "ivy", "jo"]
    texts = [" ".join(words[(i * k + k) % 10] for i in range(4 + k % 7)) for k in range(60)]
    others = [f"{text} end" if n % 3 else text.upper() for n, text in enumerate(texts[::2])]

    def shingles(text: str) -> set[tuple[str, ...]]:
        split = text.casefold().split()
        return {tuple(split[start : start + 3]) for start in range(max(1, len(split) - 2))}

    for_each = {}
    for index, text in enumerate(texts):
        found = [len(shingles(text) & shingles(o)) / len(shingles(text) | shingles(o)) for o in others]
        if max(found) >= NEAR:
            for_each[index] = max(found)
    assert {index: similarity for index, _, similarity in near_duplicates(texts, others)} == for_each
    assert 5 < len(for_each) < 60


def test_what_fails_a_gate_is_left_out_with_its_place_and_reason(tmp_path: Path) -> None:
    rows = [
        *SUMS,
        {"question": "What is half of one", "answer": "one half"},  # the reference is no number
        {"question": "77", "answer": "77"},  # the question copied back
        {"question": "What is 3  plus 10?", "answer": "13"},  # asked twice
        {"question": "No answer"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {left.item.place.rpartition(" ")[2]: left for left in bank(items=str(path)).left_out}
    assert found.keys() == {"41", "42", "43", "44"}
    assert found["41"].why == "its reference scores 0: 'one half' is no number"
    assert found["42"].why == "the question copied back is right"
    assert found["43"].why.endswith("rows.jsonl, line 4")
    assert found["44"].why == "there is no item.answer"


@pytest.mark.parametrize(
    ("grader", "words"),
    [
        ({"type": "string_check", "operation": "ne", "reference": "nothing"}, "an empty answer is right"),
        ({"type": "regex", "pattern": r"\d"}, "the question copied back is right"),
        ({"type": "regex", "pattern": r"^\d+$"}, "the answers of 8 other items are right here, too"),
        ({"type": "string_check", "reference": "x{{item.answer}}"}, "its reference scores 0"),
    ],
)
def test_a_grader_that_accepts_too_much_or_nothing_leaves_no_item(grader: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=f"none of 40 items is left to train on; item 1: {words}"):
        bank(grader=grader)


def test_near_duplicates_of_held_out_items_are_not_trained_on() -> None:
    story = "The {} farmer has sixteen brown hens and sells nine of their eggs at the market each morning {}"
    kept = [{"question": story.format("old", "before noon"), "answer": "7"}]
    items = [{"question": story.format("young", "before noon"), "answer": "8"}, *SUMS]
    made = bank(items=items, held_out=kept)
    assert [(left.kind, left.item.place) for left in made.left_out] == [("near a held-out one", "item 1")]
    assert "the same as item 1, which is held out" in made.left_out[0].why
    assert [item.values for item in made.held_out] == kept


def test_files_of_every_form_hold_the_same_items(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    table = pa.Table.from_pylist(SUMS)
    pq.write_table(table, tmp_path / "rows.parquet")
    saved = tmp_path / "saved"
    saved.mkdir()
    with pa.ipc.new_stream(saved / "data.arrow", table.schema) as stream:
        stream.write_table(table)
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    for source in ("rows.jsonl", "rows.parquet", "saved"):
        assert [item.values for item in read_items(str(tmp_path / source))] == SUMS
    (tmp_path / "answers.jsonl").write_text('{"id": 1, "extra": "x"}\n')
    (tmp_path / "ids.jsonl").write_text('{"id": 1}\n')
    joined = read_items(str(tmp_path / "ids.jsonl"), str(tmp_path / "answers.jsonl"))
    assert [item.values for item in joined] == [{"id": 1, "extra": "x"}]
    with pytest.raises(DataError, match="has no row with its id"):
        read_items(str(tmp_path / "rows.jsonl"), str(tmp_path / "answers.jsonl"))
    (tmp_path / "half.jsonl").write_text('{"question": "\\ud800"}\n')
    with pytest.raises(DataError, match="line 1: has half of a surrogate pair"):
        read_items(str(tmp_path / "half.jsonl"))
    (tmp_path / "twice.jsonl").write_text('{"id": [1]}\n{"id": [1]}\n')
    with pytest.raises(DataError, match="line 2: the id \\[1\\] stands there twice"):
        read_items(str(tmp_path / "ids.jsonl"), str(tmp_path / "twice.jsonl"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"prompt": "{{item.qestion}}"},
            r"\{\{item.qestion\}\}: none of 40 items has it; did you mean question",
        ),
        ({"items": "nowhere.jsonl"}, "there is no such file or folder"),
        ({"items": "data/nowhere.jsonl"}, "there is no such file or folder"),
        ({"items": ""}, "items: is empty"),
        ({"reference": ""}, "reference is missing"),
        ({"attempts": 0}, "attempts: Input should be greater than or equal to 1"),
        ({"atempts": 2}, "did you mean attempts"),
        ({"preset": "gsm9k"}, "did you mean gsm8k"),
    ],
)
def test_bad_input_is_one_line(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        bank(**keys)
    assert "\n" not in str(refused.value)


def test_a_recipe_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(DataError, match="is a folder, but not one of"):
        bank(items=str(tmp_path))
    (tmp_path / "broken.toml").write_text("items = ")
    with pytest.raises(ArgumentError, match="is no TOML"):
        load_recipe(tmp_path / "broken.toml")
    with pytest.raises(ArgumentError, match="No such file"):
        load_recipe("gms8k.toml")
    assert set(preset_names()) == {"bfcl", "example", "gsm8k", "humaneval", "math", "mbpp"}
    for preset in preset_names():
        if preset != "example":
            with pytest.raises(ArgumentError, match=f"{preset}: items: is empty"):
                load_recipe(preset)


PROGRAMS = {
    "preset": "humaneval",
    "items": [
        {
            "prompt": f'def add_{n}(x):\n    """x and {n}."""\n',
            "canonical_solution": f"    return x + {n}\n",
            "entry_point": f"add_{n}",
            "test": f"def check(f):\n    assert f(1) == {n + 1}\n    assert f(-4) == {n - 4}\n",
        }
        for n in range(1, 9)
    ],
}
CALLS = {
    "preset": "bfcl",
    "items": [
        {
            "question": [[{"role": "user", "content": f"The weather in {city}, please."}]],
            "function": [{"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}],
            "ground_truth": [{"weather": {"city": [city]}}],
        }
        for city in ("Lima", "Oslo", "Rome", "Kyiv", "Cairo", "Quito")
    ],
}


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(PROGRAMS, marks=pytest.mark.slow),
        CALLS,
        pytest.param({**RECIPE, "attempts": 3, "tools": ["python"]}, marks=pytest.mark.slow),
    ],
    ids=["tests", "calls", "tools"],
)
def test_other_recipes_conform(recipe: dict[str, Any], needs_sandbox: None) -> None:
    checks = ("rewards", "limits", "malformed replies", "snapshots", "anchors", "scripted agents", "seeds")
    report = check("ludus/Graded-v0", episodes=6, only=checks, recipe=recipe)
    assert report.passed, str(report)


def test_a_grader_that_can_be_gamed_is_found_by_the_cheaters() -> None:
    grader = {"type": "string_check", "operation": "like", "reference": "{{item.answer}}"}
    report = check(
        "ludus/Graded-v0", episodes=20, only=("scripted agents",), recipe={**RECIPE, "grader": grader}
    )
    assert not report.passed
    assert "cheater-hedge must not succeed" in str(report)


def test_grading_imports_no_torch() -> None:
    code = "import sys, gymnasium as gym, ludus; gym.make('ludus/Graded-v0'); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.strip() == "False"


@pytest.mark.parametrize("preset", ["mbpp", "math"])
def test_presets_read_the_columns_of_their_sets(preset: str, needs_sandbox: None) -> None:
    if preset == "math":
        pytest.importorskip("math_verify", reason="needs math_verify: pip install 'ludus[data]'")
    programs = [
        {
            "prompt": f"Write a python function to add {n} to a number.",
            "code": f"def add(x):\n  return x + {n}",
            "test_imports": [],
            "test_list": [f"assert add(1) == {n + 1}", f"assert add(-2.5) == {n - 2.5}"],
        }
        for n in range(3)
    ]
    problems = [
        {
            "problem": f"What is {n} halves?",
            "solution": rf"It is $\frac{{{n}}}{{2}}$, or $\boxed{{\frac{n}2}}$.",
        }
        for n in (1, 3, 5)
    ]
    made = open_bank(load_recipe(preset, {"mbpp": programs, "math": problems}[preset]))
    assert not made.left_out
    assert len(made.training) + len(made.held_out) == 3
