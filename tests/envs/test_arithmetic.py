"""`ludus/Arithmetic-v0`: its tasks, its rewards, what it refuses."""

import re

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.envs.errors import ArgumentError
from ludus.envs.math.arithmetic.environment import Arithmetic
from ludus.envs.math.arithmetic.scripted import Oracle

PLAIN = {"ludus/ArithmeticChallenge-v0": {"planted": 0.0}}


def play(env: Arithmetic, number: str, seed: int = 0) -> tuple[float, dict, str]:
    env.reset(seed=seed)
    messages, reward, terminated, truncated, info = env.step(f"<think>so</think><answer>{number}</answer>")
    assert (terminated, truncated) == (True, False)
    return float(reward), info, messages[0]["content"]


def answer_to(env: Arithmetic, seed: int = 0) -> int:
    messages, info = env.reset(seed=seed)
    reply = Oracle(env).act(messages, info)
    return int(re.search(r"<answer>(-?\d+)<", reply)[1])  # type: ignore[index]


def test_a_perfect_reply_earns_one() -> None:
    env = Arithmetic()
    reward, info, said = play(env, f"{answer_to(env):,}.0")
    assert reward == pytest.approx(1)
    assert info["reward_terms"] == {
        "format": 1.0,
        "partial_format": 1.0,
        "closeness": 1.0,
        "correct": 1.0,
        "malformed": 0.0,
    }
    assert info["success"] is True
    assert said == "Correct."


@pytest.mark.parametrize("id", ["ludus/Arithmetic-v0", "ludus/ArithmeticChallenge-v0"])
def test_every_way_of_writing_the_number_is_right(id: str) -> None:
    env = gymnasium.make(id, operations="multiply", operands=(40, 90), **PLAIN.get(id, {})).unwrapped
    answer = answer_to(env)
    thousands, rest = divmod(answer, 1000)
    for text in (
        f"{answer}.",
        f"{answer / 1000}e3",
        f"${answer:,}",
        rf"$\boxed{{{answer}}}$",
        f"{thousands}\u2009{rest:03}",
        f"{thousands}'{rest:03}",
    ):
        env.reset(seed=0)
        terms = env.step(f"<think>so</think><answer>{text}</answer>")[4]["reward_terms"]
        assert (terms["format"], terms["malformed"]) == (1, 0), text
        assert terms.get("correct", terms.get("first")) == 1, text


def test_a_wrong_number_earns_by_its_distance() -> None:
    env = Arithmetic()
    answer = answer_to(env)
    near, far = play(env, str(answer + 1)), play(env, str(answer + 5000))
    assert near[0] > far[0]
    assert near[1]["success"] is False
    assert near[2] == f"Wrong: the answer is {answer}."
    assert far[1]["reward_terms"]["correct"] == 0


@pytest.mark.parametrize(
    "number", ["", "nan", "1e999999", "2+2", "3-5", "5/0", "1, 2", "9" * 5000, "<answer>1</answer>"]
)
def test_what_is_no_number_earns_no_more_than_its_form(number: str) -> None:
    reward, info, said = play(Arithmetic(), number)
    terms = info["reward_terms"]
    assert (terms["correct"], terms["closeness"], terms["format"], terms["malformed"]) == (0, 0, 0, 1)
    assert reward <= 0
    assert "<answer></answer>" in said


def test_the_right_number_among_others_earns_nothing_for_it() -> None:
    env = Arithmetic()
    answer = answer_to(env)
    env.reset(seed=0)
    *_, info = env.step(f"<think>so</think><answer>{answer}</answer><answer>{answer + 1}</answer>")
    assert info["reward_terms"]["correct"] == info["reward_terms"]["closeness"] == 0
    assert info["success"] is False


def test_tags_and_weights_are_arguments() -> None:
    env = gymnasium.make(
        "ludus/Arithmetic-v0", think_tag="work", answer_tag="r", weights={"correct": 3, "closeness": 0}
    ).unwrapped
    assert isinstance(env, Arithmetic)
    messages, info = env.reset(seed=1)
    assert "<work></work>" in messages[0]["content"]
    reward = env.step(Oracle(env).act(messages, info))[1]
    assert reward == pytest.approx(
        3 + Arithmetic.rubric.weights["format"] + Arithmetic.rubric.weights["partial_format"]
    )


def test_a_plain_reply_answers_with_its_last_number() -> None:
    env = Arithmetic(reply_format="plain")
    messages, _ = env.reset(seed=0)
    answer = answer_to(Arithmetic())
    assert [message["role"] for message in messages] == ["user"]
    for reply, right in (
        (f"That is {answer}.", True),
        (f"First {answer}, no: {answer + 1}", False),
        (f"{answer + 1} would be too much: {answer}", True),
    ):
        env.reset(seed=0)
        _, reward, _, _, info = env.step(reply)
        assert info["success"] is right
        assert (reward == pytest.approx(1)) is right
    env.reset(seed=0)
    (said,), reward, *_ = env.step("I do not know")
    assert "end your answer with one number" in said["content"]
    assert reward < 0


def test_the_task_is_named_by_content_however_it_is_phrased() -> None:
    bare, words = Arithmetic(phrasing="bare"), Arithmetic(phrasing="words")
    for seed in range(30):
        (one, first), (other, second) = bare.reset(seed=seed), words.reset(seed=seed)
        assert first["task"] == second["task"]
        assert bare.task_name == words.task_name
        assert one[1]["content"] == re.sub(r"([-+*/])", r" \1 ", bare.task_name) + " = ?"
        assert one[1]["content"] != other[1]["content"]


def test_mixed_phrasing_is_both() -> None:
    env = Arithmetic()
    questions = [env.reset(seed=seed)[0][1]["content"] for seed in range(200)]
    bare = sum(question.endswith("= ?") for question in questions)
    assert 70 < bare < 130
    for opening in ("What is the", "Add", "Subtract", "Multiply", "Divide"):
        assert any(question.startswith(opening) for question in questions)


def test_tasks_do_not_run_out_and_use_the_whole_range() -> None:
    env = Arithmetic(operations=("add",), operands=(10, 12), phrasing="bare")
    assert {env.task_name for seed in range(200) if env.reset(seed=seed)} == {
        f"{a}+{b}" for a in (10, 11, 12) for b in (10, 11, 12)
    }
    env = Arithmetic()
    assert len({env.reset(seed=seed)[1]["task"] for seed in range(2000)}) > 1900


def test_observations_are_fresh() -> None:
    env = Arithmetic()
    messages, info = env.reset(seed=0)
    messages[0]["content"] = "changed"
    info["task"] = "changed"
    again, second = env.reset(seed=0)
    assert again[0]["content"] != "changed"
    assert second["task"] != "changed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"operations": ("add", "divde")}, "operations: 'divde' is unknown; did you mean divide"),
        ({"operations": ()}, "is empty"),
        ({"digits": 0}, "digits=0: give an integer from 1 to 12"),
        ({"digits": 2.0}, "digits=2.0"),
        ({"digits": True}, "digits=True"),
        ({"fractions": "no"}, "fractions='no': give True or False"),
        ({"operations": 3}, "operations=3: give a name"),
        ({"depth": 7}, "depth=7"),
        ({"operands": (5, 5)}, r"operands=\(5, 5\)"),
        ({"operands": (0, 1)}, "at least 2"),
        ({"operands": 7}, "operands=7"),
        ({"operands": (-3, 9)}, "operands=-3"),
        ({"phrasing": "verse"}, "phrasing: 'verse'.*bare, words, mixed"),
        ({"answer_tag": "<answer>"}, "without angle brackets"),
        ({"think_tag": "answer"}, "different names"),
        ({"reply_format": "boxed"}, "reply_format"),
        ({"weights": {"corect": 1.0}}, "weights: 'corect' is unknown.*format"),
        ({"weights": {"correct": float("nan")}}, "correct=nan: give a finite number"),
        ({"weights": [1.0]}, "give weights by term"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        gymnasium.make("ludus/Arithmetic-v0", **arguments)
    assert "\n" not in str(caught.value)


def test_the_oracle_reads_only_what_is_observed() -> None:
    class Nothing:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"the oracle read env.{name}")

    env = Arithmetic(depth=3)
    oracle = Oracle(Nothing())  # type: ignore[arg-type]
    for seed in range(50):
        messages, _ = env.reset(seed=seed)
        oracle.begin()
        assert env.step(oracle.act(messages, {}))[4]["success"]
