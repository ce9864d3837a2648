from dataclasses import dataclass, replace

import pytest

from ludus.envs.base import Outcome, Start
from ludus.envs.chat import user
from ludus.envs.faults import EnvironmentFault
from ludus.envs.rubric import Rubric
from ludus.envs.tool_env import MAX_CALLS, Answer, ToolEnv
from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.tool import tool


@dataclass(frozen=True)
class Count:
    value: int = 0


class Counter(ToolEnv):
    """Counts."""

    max_turns = 5
    rubric = Rubric({"added": 1.0, "tool_errors": -0.1, "talk": -0.1})

    def start(self, rng, options):
        return Start([user("count")], "count", Count())

    def respond(self, state, text):
        return Outcome(state, [user("use the tools")], {"talk": 1.0})

    @tool
    def add(self, state: Count, number: int) -> Answer:
        """Add.

        Args:
            number: How much.
        """
        if number < 0:
            raise ToolError("only upwards")
        if number > 100:
            raise ToolFault("the counter broke")
        value = state.value + number
        return Answer(replace(state, value=value), str(value), {"added": float(number)})

    @tool
    def stop(self, state: Count) -> Answer:
        """End it."""
        return Answer(state, "stopped", {}, True, state.value == 3)


def call(name, id="c1", **arguments):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def reply(*calls):
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


@pytest.fixture
def env():
    made = Counter()
    made.reset(seed=0)
    return made


def test_calls_are_carried_out_in_order(env):
    messages, reward, terminated, _, info = env.step(
        reply(call("add", "a", number=1), call("add", "b", number=2), call("stop", "c"))
    )
    assert [(message["tool_call_id"], message["content"]) for message in messages] == [
        ("a", "1"),
        ("b", "3"),
        ("c", "stopped"),
    ]
    assert (reward, terminated, info["success"]) == (3.0, True, True)


def test_after_the_end_nothing_is_carried_out(env):
    messages, reward, terminated, _, info = env.step(reply(call("stop"), call("add", number=3)))
    assert (reward, terminated, info["success"]) == (0.0, True, False)
    assert messages[1]["content"] == "Not carried out: the episode has ended."


def test_one_wrong_call_does_not_spoil_its_neighbours(env):
    bad = [call("ad", number=1), call("add"), {"id": "x"}, call("add", number="much"), call("add", number=-1)]
    messages, reward, _, _, info = env.step(reply(call("add", number=1), *bad, call("add", number=1)))
    assert [message["content"] for message in messages[::6]] == ["1", "2"]
    assert all(message["content"].startswith("Error: ") for message in messages[1:6])
    assert "Did you mean 'add'?" in messages[1]["content"]
    assert info["reward_terms"] == {"added": 2.0, "tool_errors": 4.0, "talk": 0.0}
    assert reward == pytest.approx(1.6)


def test_too_many_calls(env):
    messages, *_ = env.step(reply(*[call("add", number=1)] * (MAX_CALLS + 1)))
    assert messages[MAX_CALLS - 1]["content"] == str(MAX_CALLS)
    assert messages[MAX_CALLS]["content"].startswith("Error: only")


def test_a_fault_is_an_environments_fault(env):
    with pytest.raises(EnvironmentFault, match="the tool add broke: the counter broke"):
        env.step(reply(call("add", number=101)))


def test_text_goes_to_respond(env):
    assert env.step("hello")[4]["reward_terms"]["talk"] == 1.0
    assert [tool.name for tool in env.tools] == ["add", "stop"]


class Renamed(Counter):
    """Counts under another name."""

    def __init__(self, names):
        super().__init__()
        add, _ = self.tools
        self.use_tools([replace(add, name=name) for name in names])


def test_an_instance_may_offer_tools_of_its_own(env):
    renamed = Renamed(["plus"])
    renamed.reset(seed=0)
    messages, *_ = renamed.step(reply(call("plus", number=2), call("add", number=2), call("stop")))
    assert messages[0]["content"] == "2"
    assert messages[1]["content"] == "Error: there is no tool 'add'. There are: plus"
    assert messages[2]["content"].startswith("Error: there is no tool 'stop'")
    assert [tool.name for tool in renamed.tools] == ["plus"]
    assert env.step(reply(call("add", number=1)))[0][0]["content"] == "1"
    assert [tool.name for tool in env.tools] == ["add", "stop"]


def test_tools_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two tools are called 'plus'"):
        Renamed(["plus", "minus", "plus"])


def test_a_rubric_need_not_count_tool_errors() -> None:
    class Lenient(Counter):
        """Counts, without a penalty."""

        rubric = Rubric({"added": 1.0, "talk": -0.1})

    env = Lenient()
    env.reset(seed=0)
    messages, reward, _, _, info = env.step(reply(call("subtract", number=1)))
    assert messages[0]["content"].startswith("Error: there is no tool 'subtract'")
    assert (reward, info["reward_terms"]) == (0.0, {"added": 0.0, "talk": 0.0})
