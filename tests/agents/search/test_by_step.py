"""Search inside replies: a model that writes them step by step."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import gymnasium
import pytest

from ludus.agents.engines.base import Completion, EngineError, Sampling
from ludus.agents.episode import Episode
from ludus.agents.formats.base import Prompt
from ludus.agents.instructed import Instructed
from ludus.agents.policy import EnginePolicy, Policy, ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.scorers.base import Score
from ludus.agents.search.beam import Beam
from ludus.agents.search.by_step import by_step
from ludus.agents.search.mcts import MCTS
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Chat, Message, assistant, content_text, user
from ludus.envs.rubric import Rubric

END = 0


class Letters:
    """A format whose ids are bytes; 0 ends a turn."""

    stop_ids: tuple[int, ...] = (END,)
    pad_id, vocab_size = 1, 128

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        return Prompt(tuple("".join(content_text(message) for message in messages).encode()), fork=False)

    def next_prompt(self, history: Chat, context: Sequence[int], added: Chat, tools: Any = ()) -> Prompt:
        return self.first_prompt(added)

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        return (*content_text(reply).encode(), END)

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        return assistant(bytes(id for id in completion_ids if id != END).decode())

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [chr(id) for id in ids]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        return [bytes([id]) for id in ids]


@dataclass
class Typist:
    """An engine that writes lines of one random letter of x, y and z, three a reply."""

    contexts: list[bytes] = field(default_factory=list)
    weights_version: int = 0

    def session(self) -> "Typist":
        return self

    async def generate(
        self, ids: Sequence[int], sampling: Sampling, seed: int, pictures: Any = ()
    ) -> Completion:
        await asyncio.sleep(0)
        self.contexts.append(bytes(ids))
        written: list[int] = []
        random = Random(seed)
        while len(written) < sampling.max_tokens and not (written and written[-1] in sampling.stop_ids):
            said = bytes([*ids, *written]).rpartition(b"?")[2]
            end = END if said.count(b"\n") == 2 else ord("\n")
            written.append(ord(random.choice("xyz")) if not said or said[-1:] == b"\n" else end)
        finish: Any = "stop" if written and written[-1] in sampling.stop_ids else "length"
        return Completion(tuple(written), (-1.0,) * len(written), finish, 0)

    def close(self) -> None:
        pass


class Spell(ChatEnv):
    """Two replies; the right one to both is three lines of x."""

    scripted: ClassVar[Any] = {}
    rubric = Rubric({"right": 0.5})
    max_turns = 2

    def start(self, rng: Any, options: Any) -> Start:
        return Start([user("What?")], "spell", 0)

    def respond(self, state: int, text: str) -> Outcome:
        right = text == "x\nx\nx"
        return Outcome(state + 1, [user("And?")], {"right": float(right)}, state == 1, state == 1 and right)


gymnasium.register("tests/Spell-v0", entry_point=Spell)


@dataclass
class CountsX:
    """The share of x among the letters written so far."""

    seen: list[str] = field(default_factory=list)

    async def score(self, episodes: Sequence[Episode]) -> list[Any]:
        texts = ["".join(content_text(turn.reply) for turn in episode.turns) for episode in episodes]
        self.seen += texts
        return [Score(text.count("x") / max(1, len(text.replace("\n", "")))) for text in texts]

    def close(self) -> None:
        pass


def model(max_tokens: int = 20) -> EnginePolicy:
    return EnginePolicy(Typist(), Letters(), Sampling(max_tokens))  # type: ignore[arg-type]


def play(policy: Policy, n: int = 10) -> list[Episode]:
    return rollout(policy, EnvironmentSpec("tests/Spell-v0"), [EpisodeStart(seed) for seed in range(n)])


@pytest.mark.parametrize("kind", ["beam", "mcts"])
def test_search_over_steps_chooses_among_beginnings_of_a_reply(kind: str) -> None:
    """A reply is right with 1/27. One right line is among 8 samples all but 4 times in a hundred."""
    judge, acting = CountsX(), by_step(model())
    policy = Beam(acting, 2, 8, judge) if kind == "beam" else MCTS(acting, 60, 8, score=judge)
    episodes = play(policy)
    assert sum(episode.success for episode in episodes) >= 8
    assert {"x", "x\n", "y\n"} & {*judge.seen} >= {"x\n", "y\n"}
    for episode in episodes:
        assert len(episode.turns) == 2
        for turn in episode.turns:
            # What is acted is whole: ids, log-probabilities and text of all lines.
            assert bytes(turn.completion_ids[:-1]).decode() == content_text(turn.reply)
            assert len(turn.logprobs) == len(turn.completion_ids) == 6
        assert sum(turn.completion_tokens for turn in episode.turns) > 8 * 2 * 6


def test_a_step_continues_the_ids_that_are_there() -> None:
    policy = model()
    (episode,) = play(Beam(by_step(policy), 1, 1, CountsX()), 1)
    first, second = (content_text(turn.reply) for turn in episode.turns)
    a, b = (reply.split("\n") for reply in (first, second))
    told = f"What?{first}\0And?"
    expected = ["What?", f"What?{a[0]}\n", f"What?{a[0]}\n{a[1]}\n"]
    expected += [told, f"{told}{b[0]}\n", f"{told}{b[0]}\n{b[1]}\n"]
    assert policy.engine.contexts == [text.encode() for text in expected]  # type: ignore[attr-defined]
    assert [turn.completion_tokens for turn in episode.turns] == [12, 0]


@pytest.mark.parametrize("room", [1, 2, 3])
def test_the_limit_on_a_reply_holds_over_its_steps(room: int) -> None:
    (episode,) = play(Beam(by_step(model(room)), 1, 1, CountsX()), 1)
    assert [(len(turn.completion_ids), turn.finish) for turn in episode.turns] == [(room, "length")] * 2


def test_what_cannot_be_stopped_within_a_reply_is_said() -> None:
    assert play(Beam(by_step(Instructed(model(), "Spell.")), 2, 8, CountsX()), 2)
    with pytest.raises(EngineError, match="ScriptedPolicy cannot be stopped within a reply"):
        by_step(ScriptedPolicy("oracle"))


def test_a_step_ends_with_the_whole_separator_behind_something() -> None:
    class Writer(Typist):
        async def generate(self, ids: Any, sampling: Sampling, seed: int, pictures: Any = ()) -> Completion:
            said = bytes(ids).rpartition(b"?")[2]
            rest = b"\n\nx-\n-\ny\0"[len(said) :]
            end = next(at for at, id in enumerate(rest, 1) if id in sampling.stop_ids)
            return Completion(tuple(rest[:end]), (-1.0,) * end, "stop", 0)

    judge = CountsX()
    policy = EnginePolicy(Writer(), Letters(), Sampling(20))  # type: ignore[arg-type]
    play(Beam(by_step(policy, "-\n"), 1, 1, judge), 1)
    assert judge.seen[:3] == ["\n\nx-\n", "\n\nx-\n-\n", "\n\nx-\n-\ny"]
