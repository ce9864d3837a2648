"""`ludus grade`: which items can be used, and what each part of a grader says of given answers."""

import json
import re
from pathlib import Path

import pytest

RECIPE = """
items = "sums.jsonl"
prompt = "{{item.question}}"
reference = "{{item.answer}}"

[grader]
type = "multi"
calculate_output = "right * (0.5 + 0.5 * short)"

[grader.graders.right]
type = "regex"
pattern = '(?<!\\d){{item.answer}}$'

[grader.graders.short]
type = "regex"
pattern = "^.{0,5}$"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    rows = [{"question": f"{n} + 100?", "answer": str(n + 100)} for n in range(9)]
    lines = [json.dumps(row) for row in (*rows, {"question": "nothing"})]
    (tmp_path / "sums.jsonl").write_text("\n".join(lines))
    (tmp_path / "mine.toml").write_text(RECIPE)
    return str(tmp_path / "mine.toml")


def test_items_that_cannot_be_used_are_listed(run, recipe: str) -> None:
    result = run("grade", recipe)
    assert result.code == 0
    assert "sums.jsonl, line 10: there is no item.answer" in result.out
    assert "1 left out: 1 without a column" in result.out


def test_every_part_says_what_it_thinks_of_an_answer(run, recipe: str, tmp_path: Path) -> None:
    answers = [
        {"output_text": "100"},
        {"output_text": "it must be 104", "item": 5},
        {"output_text": "no", "item": 3},
    ]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    result = run("grade", recipe, "--answers", str(tmp_path / "answers.jsonl"))
    assert result.code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines() if line.strip()]
    assert any("sums.jsonl, line 1 1.000 right" in line for line in lines)
    assert any("sums.jsonl, line 5 0.500 wrong" in line for line in lines)
    assert any(line.startswith("0.000 short") for line in lines)
    assert lines[-1] == "1 of 3 right, mean score 0.500"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "100"}, "there is no answer in it; give output_text"),
        ({"output_text": "1", "item": 99}, "item 99 is none of the 10 rows"),
        ({"output_tools": "f(1)"}, "output_tools is no list"),
        ({"output_text": "x", "item": 10}, "line 10: there is no item.answer"),
    ],
)
def test_answers_that_cannot_be_graded_are_named(
    run, recipe: str, tmp_path: Path, row: dict, words: str
) -> None:
    (tmp_path / "answers.jsonl").write_text(json.dumps(row))
    result = run("grade", recipe, "--answers", str(tmp_path / "answers.jsonl"))
    assert result.code in (1, 2)
    assert words in result.err
    assert result.err.count("\n") == 1


def test_the_example_of_the_page_is_the_one_beside_it_and_every_row_can_be_used(run) -> None:
    repository = Path(__file__).parents[2]
    example = (repository / "examples" / "units.toml").read_text()
    page = (repository / "docs" / "graders.md").read_text()
    (shown,) = re.findall(r"```toml\n(items = .*?)```", page, re.DOTALL)
    assert example.partition("\n")[2] == shown
    result = run("grade", repository / "examples" / "units.toml")
    assert result.code == 0
    assert re.search(r"items to train on, \d held out, 0 left out", result.out)
