"""`ludus/MathTool-v0`: its tasks, its rewards, what programs may do."""

import json

import numpy as np
import pytest

from ludus.envs.code.printed import printed
from ludus.envs.errors import ArgumentError
from ludus.envs.math.mathtool.algebraic import NotExact
from ludus.envs.math.mathtool.environment import LIMITS, WEIGHTS, MathTool
from ludus.envs.math.mathtool.kinds import FORMS
from ludus.envs.math.mathtool.scripted import AGENTS, Oracle, call_python
from ludus.envs.math.mathtool.topics import KINDS, TOPICS, parse
from ludus.tools.sandbox import Result, Verdict

pytestmark = pytest.mark.usefixtures("needs_sandbox")


def opened(**arguments) -> MathTool:
    env = MathTool(**arguments)
    env.reset(seed=0)
    return env


def answer_of(env: MathTool) -> str:
    """The right answer, from the verdict on a wrong one."""
    state = env.snapshot()
    messages, *_ = env.step("<think>so</think><answer>-123456789</answer>")
    env.restore(state)
    return messages[0]["content"].removeprefix("Wrong: the answer is ").removesuffix(".")


@pytest.mark.parametrize("name", KINDS)
def test_the_oracles_program_finds_the_answer_of_every_kind(name: str) -> None:
    env = MathTool(topics=name)
    oracle = Oracle(env)
    for seed in range(3):
        messages, info = env.reset(seed=seed)
        oracle.begin()
        messages, reward, terminated, _, _ = env.step(oracle.act(messages, info))
        assert (reward, terminated) == (0, False)
        *_, reward, terminated, _, info = env.step(oracle.act(messages, info))
        assert (reward, terminated, info["success"]) == (pytest.approx(1), True, True), messages


@pytest.mark.parametrize("name", KINDS)
def test_questions_are_read_back_and_answers_are_of_their_form(name: str) -> None:
    kind = KINDS[name]
    keys = set()
    for seed in range(40):
        problem = kind.draw(np.random.default_rng(seed))
        keys.add(kind.key(problem))
        assert parse(kind.question(problem)) == (kind, problem.fields)
        answer = str(problem.answer)
        assert kind.same(answer, kind.read(kind.write(answer)))
        with pytest.raises(NotExact):
            kind.read(kind.question(problem))
    assert len(keys) > 30
    assert len(KINDS) >= 16
    assert sum(map(len, TOPICS.values())) == len(KINDS)
    assert kind.form in FORMS


def test_a_formula_is_no_answer_where_a_number_is_asked_for() -> None:
    env = opened(topics="product")
    numbers = [word.strip("?\n") for word in env.reset(seed=1)[0][1]["content"].split() if word[0].isdigit()]
    messages, reward, terminated, _, info = env.step(
        f"<think>so</think><answer>{'*'.join(numbers[:2])}</answer>"
    )
    assert (reward, terminated) == (WEIGHTS["malformed"], False)
    assert "Write an integer" in messages[0]["content"]
    assert "success" not in info


def test_equal_expressions_are_equal_answers() -> None:
    env = opened(topics="arctangent_integral")
    value = answer_of(env)
    for text in (
        value,
        f"({value})*sqrt(8)/(2*sqrt(2))",
        f"{value} + e - exp(1)",
        value.replace("pi", "π"),
        f"({value})*8^(1/3)*(1+√2)/2/(√2+1)",
        rf"$\boxed{{\frac{{2({value})}}{{2}}}}$",
    ):
        state = env.snapshot()
        assert env.step(f"<think>so</think><answer>{text}</answer>")[-1]["success"], text
        env.restore(state)
    assert not env.step(f"<think>so</think><answer>{value} + 1/10^30</answer>")[-1]["success"]


def test_several_answers_or_untidy_ones_earn_less() -> None:
    env = opened(topics="rank")
    value = answer_of(env)
    state = env.snapshot()
    *_, info = env.step(f"<answer>{value}</answer>")
    assert (info["reward_terms"]["correct"], info["reward_terms"]["format"]) == (1, 0)
    env.restore(state)
    _, reward, terminated, *_ = env.step(f"<think>so</think><answer>{value}</answer><answer>9</answer>")
    assert (reward, terminated) == (WEIGHTS["malformed"], False)


def test_calls_cost_beyond_the_free_ones_and_end_with_the_budget() -> None:
    env = opened(calls=3, free_calls=1)
    messages, reward, *_ = env.step(call_python("print(1)", "print(2)"))
    assert [message["content"] for message in messages] == ["1", "2"]
    assert reward == pytest.approx(WEIGHTS["calls"])
    messages, reward, *_, info = env.step(call_python("print(3)", "print(4)", "print(5)"))
    assert messages[0]["content"] == "3"
    assert all("used up" in message["content"] for message in messages[1:])
    assert info["reward_terms"]["tool_errors"] == 2
    assert reward == pytest.approx(WEIGHTS["calls"] + 2 * WEIGHTS["tool_errors"])


def test_programs_share_nothing_and_the_state_is_only_a_count() -> None:
    env = opened()
    state = env.snapshot()
    first = env.step(call_python("open('note', 'w').write('x')\nnumber = 7\nprint(number)"))[0]
    after = env.snapshot()
    second = env.step(call_python("import os\nprint(os.listdir(), 'number' in globals())"))[0]
    assert (first[0]["content"], second[0]["content"]) == ("7", "[] False")
    env.restore(state)
    env.step(call_python("print('another')"))
    assert env.snapshot() == after


def test_nothing_of_the_answer_is_in_the_sandbox() -> None:
    env = opened(topics="product")
    value = answer_of(env)
    snoop = AGENTS["cheater-snoop"](env)
    messages, info = env.reset(seed=0)
    snoop.begin()
    messages, *_ = env.step(snoop.act(messages, info))
    assert messages[0]["content"] not in ("", value)
    # The same search finds what does exist: a line of the program itself.
    program = f"planted = {value}\n{snoop.PROGRAM}"
    assert env.step(call_python(program))[0][0]["content"] == value


def test_what_the_agent_reads_of_a_program() -> None:
    env = opened(calls=6)
    programs = ("1/0", "pass", "while True: pass", "print('a' * 5000)", "import os; os._exit(3)", "print(1")
    texts = [message["content"] for message in env.step(call_python(*programs))[0]]
    assert "ZeroDivisionError" in texts[0]
    assert "print what you want to see" in texts[1]
    assert texts[2] == f"It was stopped: it took longer than {LIMITS.wall_s:g} seconds."
    assert texts[3].endswith("(cut off)")
    assert len(texts[3]) < 2_100
    assert texts[4] == "It ended with an error."
    assert "SyntaxError" in texts[5]
    assert printed(Result(Verdict.RUNTIME_ERROR, None, 11, "", ""), LIMITS) == "It ended with signal 11."


def test_the_wrong_argument_is_named() -> None:
    for arguments, words in (
        ({"topics": ("algebar",)}, "did you mean algebra"),
        ({"topics": ()}, "is empty"),
        ({"topics": 3}, "topics=3: give a name"),
        ({"calls": 17}, "from 0 to 16"),
        ({"free_calls": True}, "free_calls=True"),
        ({"weights": {"corect": 1}}, "weights: 'corect' is unknown"),
    ):
        with pytest.raises(ArgumentError, match=words):
            MathTool(**arguments)


def test_the_budget_is_named_and_calls_may_be_none() -> None:
    env = MathTool(calls=0)
    messages, _ = env.reset(seed=0)
    assert "you have 0 calls" in messages[0]["content"]
    assert json.dumps(env.tools[0].openai)
    assert "used up" in env.step(call_python("print(1)"))[0][0]["content"]
