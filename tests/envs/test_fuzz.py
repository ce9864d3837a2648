"""Whatever an agent says or calls is answered: no fault, no exception, no hang."""

import random
from typing import Any

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ludus  # noqa: F401
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import user
from ludus.envs.conformance import check, fuzz
from ludus.envs.conformance.fuzz import Fuzzer
from ludus.envs.faults import EnvironmentFault
from ludus.envs.games import GAMES
from ludus.envs.rubric import Rubric
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.registration import environment_ids
from ludus.tools.errors import ToolFault
from ludus.tools.tool import tool

RUN_PROGRAMS = ("ludus.envs.code.", "ludus.envs.math.mathtool")


NUMBERS = ("ludus/Market-v0", "ludus/PacMan-v0", *(f"ludus/{name}-v0" for name in GAMES))
"""Their actions are no replies."""


@pytest.fixture(params=[id for id in environment_ids() if id not in NUMBERS], scope="module")
def env(request: pytest.FixtureRequest) -> Any:
    if str(gymnasium.spec(request.param).entry_point).startswith(RUN_PROGRAMS):
        request.getfixturevalue("needs_sandbox")
    made: Any = gymnasium.make(request.param)
    yield made
    made.close()


@settings(max_examples=4)
@given(source=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_every_tool_answers_what_hypothesis_thinks_of(env: Any, source: random.Random, seed: int) -> None:
    fuzzer = Fuzzer(source, [tool.openai for tool in env.unwrapped.tools])
    observation, _ = env.reset(seed=seed)
    for _ in range(3):
        fuzzer.hear(observation)
        observation, _, terminated, truncated, _ = env.step(fuzzer.reply())
        assert observation in env.observation_space
        if terminated or truncated:
            break


class Notes(ToolEnv):
    """Keeps notes, and breaks in a way that tests choose."""

    rubric = Rubric({"tool_errors": -0.1}, form=("tool_errors",))
    max_turns = 8
    breaks: type[Exception] | None = None

    def start(self, rng: Any, options: Any) -> Start:
        return Start([user("Note the word pear.")], "pear", ())

    def respond(self, state: Any, text: str) -> Outcome:
        return Outcome(state, [user("Use the tools.")], {})

    @tool
    def note(self, state: tuple[str, ...], text: str) -> Answer:
        """Note a text.

        Args:
            text: What to note.
        """
        return Answer((*state, text), "Noted.")

    @tool
    def read(self, state: tuple[str, ...]) -> Answer:
        """Read the notes."""
        if self.breaks and any(not character.isprintable() for text in state for character in text):
            raise self.breaks("the notes cannot be read")
        return Answer(state, f"{len(state)} notes")


class Faulty(Notes):
    """A control character in a note breaks every later read."""

    breaks = ToolFault


class Buggy(Notes):
    """The same with an unexpected exception."""

    breaks = KeyError


class Hangs(Notes):
    """Never answers a text."""

    def respond(self, state: Any, text: str) -> Outcome:
        import time

        time.sleep(3600)
        raise AssertionError


@pytest.mark.parametrize(
    ("environment", "words"),
    [(Faulty, "causes a fault"), (Buggy, "raises KeyError"), (Hangs, "no answer within")],
)
def test_what_an_agents_input_breaks_is_found(
    environment: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "PATIENCE", 1.0)
    (found,) = check(environment, only=("hostile replies",)).checks
    assert not found.passed
    assert words in found.detail


def test_what_answers_everything_passes() -> None:
    (found,) = check(Notes, only=("hostile replies",), episodes=50).checks
    assert found.passed, found
    assert found.detail == f"{2 * fuzz.REPLIES} hostile replies answered"


def test_a_fault_before_the_agent_has_spoken_is_not_its_doing() -> None:
    class Down(Notes):
        """Its server is down."""

        def start(self, rng: Any, options: Any) -> Start:
            raise EnvironmentFault("down")

    with pytest.raises(EnvironmentFault, match="down"):
        check(Down, only=("hostile replies",))
