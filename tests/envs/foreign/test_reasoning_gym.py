"""`ludus/ReasoningGym-v0`: another library's items and marks, with our promises."""

import random
from typing import Any

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.envs.conformance import CHECKS, check
from ludus.envs.errors import ArgumentError
from ludus.envs.foreign.reasoning_gym.scripted import PROGRAMS, reply

reasoning_gym = pytest.importorskip("reasoning_gym", reason="needs reasoning-gym: .ci/foreign.sh")
ID = "ludus/ReasoningGym-v0"


def make(dataset: str = "countdown", **arguments: Any) -> Any:
    return gymnasium.make(ID, dataset=dataset, **arguments).unwrapped


def answer(env: Any, text: str, seed: int = 3) -> tuple[float, bool, dict[str, float]]:
    env.reset(seed=seed)
    _, reward, terminated, _, info = env.step(reply(text))
    assert terminated
    return reward, info["success"], info["reward_terms"]


@pytest.mark.slow
def test_conforms() -> None:
    report = check(ID, episodes=25)
    assert report.passed, str(report)
    assert [outcome.name for outcome in report.checks] == list(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["acre", "chain_sum", "string_synthesis", "word_ladder"])
def test_other_datasets_keep_what_depends_on_them(dataset: str) -> None:
    only = ("malformed replies", "seeds", "instances", "threads", "snapshots", "scripted agents")
    report = check(ID, dataset=dataset, episodes=5, only=only)
    assert report.passed, str(report)


def test_neighbouring_seeds_share_no_item() -> None:
    theirs = [reasoning_gym.create_dataset("chain_sum", seed=seed, size=3) for seed in (7, 8)]
    assert theirs[0][1]["question"] == theirs[1][0]["question"]
    env = make("chain_sum")
    questions = [env.reset(seed=seed)[0][-1]["content"] for seed in range(20)]
    assert len(set(questions)) == len(questions)


def test_a_task_is_named_by_its_dataset_and_question() -> None:
    env = make("chain_sum")
    messages, info = env.reset(seed=3)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert env.task_name.startswith(f"chain_sum: {messages[1]['content'][:20]}")
    assert make("chain_sum").reset(seed=3)[1]["task"] == info["task"]
    assert make("chain_sum", config={"min_terms": 6, "max_terms": 6}).reset(seed=3)[1]["task"] != info["task"]


def test_global_generators_stay_as_they_were() -> None:
    random.seed(5)
    before = random.getstate()
    answer(make("word_ladder"), "no")
    assert random.getstate() == before


def test_the_mark_is_a_term_and_only_the_full_one_is_right() -> None:
    env = make("chain_sum")
    env.reset(seed=3)
    right = env.verdict.expected
    assert answer(env, right) == (1.0, True, {"correct": 1.0, "score": 1.0, "malformed": 0.0})
    reward, success, terms = answer(env, f"{right}, or {right}")
    assert (reward, success, terms["correct"]) == (0.0, False, 0.0)
    assert 0 < terms["score"] < 1
    theirs = make("chain_sum", weights={"correct": 0.0, "score": 1.0})
    assert answer(theirs, f"{right}, or {right}")[0] == terms["score"]


@pytest.mark.parametrize("text", ["", "42", "<answer></answer>", "<answer>1</answer><answer>2</answer>"])
def test_a_reply_without_one_answer_is_malformed(text: str) -> None:
    env = make("chain_sum")
    env.reset(seed=3)
    messages, reward, terminated, _, info = env.step(text)
    assert messages[0]["content"].startswith("There is no answer")
    assert (reward, terminated, info["success"]) == (-0.1, True, False)


@pytest.mark.parametrize("dataset", ["graph_color", "propositional_logic", "rubiks_cube"])
def test_right_answers_are_found_where_a_dataset_names_no_only_one(dataset: str) -> None:
    env = make(dataset)
    env.reset(seed=3)
    assert answer(env, env.verdict.expected)[1]


def test_what_a_scorer_raises_is_the_answers_fault() -> None:
    env = make("prime_factorization")
    assert answer(env, "two times three")[:2] == (0.0, False)
    assert env.verdict.failure.startswith("the scorer raised ValueError")


def test_their_scorer_runs_an_answer_as_a_program_and_ours_reads_it() -> None:
    dataset = reasoning_gym.create_dataset("string_insertion", seed=3, size=1)
    assert dataset.score_answer('[*entry["answer"]]', dataset[0]) == 0.1
    env = make("string_insertion")
    for text in PROGRAMS:
        assert answer(env, text)[2]["score"] == 0, text
    assert answer(env, str([*env.verdict.expected]))[2]["score"] == 0.1


def test_formulas_are_read_and_programs_in_their_place_are_not() -> None:
    env = make("countdown")
    env.reset(seed=3)
    assert answer(env, env.verdict.expected)[1]
    for text in ("int(open('/etc/passwd').read())", "().__class__", "exec(chr(49))", "(lambda: 1)()"):
        assert answer(env, text)[2]["score"] <= 0.01


@pytest.mark.slow
def test_an_answer_that_takes_forever_is_wrong_and_the_next_is_judged() -> None:
    env = make("countdown")
    assert answer(env, "9**9**9**9")[:2] == (0.0, False)
    assert env.verdict.failure == "not judged within 5 s"
    env.reset(seed=3)
    assert answer(env, env.verdict.expected)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataset": "cuontdown"}, "dataset: 'cuontdown' is unknown; the nearest of 105 are countdown, "),
        ({"dataset": "composite"}, "dataset: 'composite' is unknown"),
        ({"config": {"min_number": 3}}, "config: 'min_number' is unknown; did you mean min_numbers?"),
        ({"config": {"seed": 3}}, "config: 'seed' is unknown"),
        ({"config": {"min_numbers": 9}}, "countdown refuses it: "),
        ({"config": "hard"}, "config='hard': give settings by name"),
        ({"config": {"min_numbers": {3}}}, "give numbers, texts and lists of them"),
        ({"weights": {"right": 1}}, "weights: 'right' is unknown"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        make(**{"dataset": "countdown", **arguments})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
