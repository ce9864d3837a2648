"""A model as the user: what it is told, and what happens to its answers and faults."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.agents.engines.base import EngineFault
from ludus.agents.policy import Action
from ludus.agents.user import ModelUser
from ludus.envs.assistant.user import Brief
from ludus.envs.chat import assistant, content_text, user
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import ToolFault

BRIEF = Brief("Ada", "Please book it.", (("minutes", "It should take 60 minutes."),))


@dataclass
class Parrot:
    """A policy that says what it is told to, and keeps what it read."""

    says: str = "An hour."
    breaks: bool = False
    read: list[Any] = field(default_factory=list)

    def player(self, env: Any, seed: int) -> "Parrot":
        assert not getattr(env.unwrapped, "tools", ())
        return self

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        await asyncio.sleep(0)
        self.read.append(observation)
        if self.breaks:
            raise EngineFault("the server died")
        return Action({"role": "assistant", "content": self.says})

    def close(self) -> None:
        pass


def test_the_model_reads_the_brief_and_the_talk() -> None:
    parrot = Parrot(says="  An hour.\n")
    history = [user(BRIEF.request), assistant("With whom?"), user("With Bo.")]
    assert ModelUser(parrot).answer(BRIEF, history, "How long?") == "An hour."
    brief, talk = map(content_text, parrot.read[0])
    assert "60 minutes" in brief
    assert "Ada" in brief
    assert talk.startswith(
        "You: Please book it.\n\nAssistant: With whom?\n\nYou: With Bo.\n\nAssistant: How long?"
    )


def test_it_answers_where_a_loop_is_running_already() -> None:
    async def ask() -> str:
        return ModelUser(Parrot()).answer(BRIEF, [], "How long?")

    assert asyncio.run(ask()) == "An hour."


def test_what_breaks_is_a_fault_and_silence_is_said() -> None:
    with pytest.raises(ToolFault, match="the server died"):
        ModelUser(Parrot(breaks=True)).answer(BRIEF, [], "How long?")
    assert ModelUser(Parrot(says=" ")).answer(BRIEF, [], "How long?") == "(The user says nothing.)"
    assert len(ModelUser(Parrot(says="x" * 9_999)).answer(BRIEF, [], "How long?")) == 1_000


def test_it_takes_the_automaton_s_place_in_an_environment() -> None:
    parrot = Parrot(says="I forgot.")
    env = gymnasium.make("ludus/Assistant-v0", user=ModelUser(parrot), disable_env_checker=True)
    env.reset(seed=0)
    assert not parrot.read  # proofs are made with the automaton
    messages, *_ = env.step("How long?")
    assert content_text(messages[0]) == "I forgot."
    parrot.breaks = True
    with pytest.raises(EnvironmentFault, match="the server died"):
        env.step("How long?")
