"""Test-time agents, on environments where their gain can be worked out."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar, Literal

import gymnasium
import pytest

from ludus.agents.choose import AgentError, choose_policy
from ludus.agents.engines.base import EngineFault
from ludus.agents.episode import Episode, StopReason
from ludus.agents.policy import Action, Policy, ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.search.beam import Beam
from ludus.agents.search.best_of_n import BestOfN
from ludus.agents.search.branches import Node, SearchError, Step
from ludus.agents.search.lines import final_answer, likelihood
from ludus.agents.search.majority import Majority
from ludus.agents.search.mcts import MCTS
from ludus.agents.search.react import ReAct, final_words, written_calls
from ludus.agents.statistics import wilson
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Chat, assistant, system, user
from ludus.envs.faults import EnvironmentFault
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.tool import tool


class Guess(ScriptedAgent):
    def begin(self) -> None:
        self.random = Random(self.seed)

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return str(self.random.randrange(10))


class Lock(ChatEnv):
    """A lock with `length` wheels. Each right digit of 0 to 2 opens one and, if it pays on the way, earns its
    share; a wrong one ends the episode."""

    scripted: ClassVar[Any] = {"guess": Guess}
    rubric = Rubric({"opened": 1.0})
    max_turns = 20
    step_fails: ClassVar[bool] = False

    def __init__(self, length: int = 6, pays: bool = True, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.length, self.pays = length, pays

    def start(self, rng: Any, options: Any) -> Start:
        wheels = tuple(int(digit) for digit in rng.integers(3, size=self.length))
        return Start([system("A lock."), user("Wheel 0?")], f"lock {wheels}", (wheels, 0))

    def respond(self, state: Any, text: str) -> Outcome:
        if Lock.step_fails:
            raise EnvironmentFault("rusty")
        wheels, at = state
        if text != str(wheels[at]):
            return Outcome(state, [user("Stuck.")], {}, True)
        done = at + 1 == self.length
        share = 1 / self.length if self.pays else float(done)
        return Outcome((wheels, at + 1), [user(f"Wheel {at + 1}?")], {"opened": share}, done, done)


class Fickle(Lock):
    """Gives a different answer each time it is asked."""

    count = 0

    def respond(self, state: Any, text: str) -> Outcome:
        Fickle.count += 1
        return replace(super().respond(state, "?"), messages=[user(f"{Fickle.count}")], terminated=False)


gymnasium.register("tests/Lock-v0", entry_point=Lock)
gymnasium.register("tests/Fickle-v0", entry_point=Fickle)


@dataclass(frozen=True)
class Model:
    """A model that replies with `say`, given its own randomness and the conversation; reading a message costs
    ten tokens, replying one."""

    say: Callable[[Random, Chat], str]
    logprob: Callable[[str], float] = lambda text: -1.0

    def player(self, env: Any, seed: int) -> "ModelPlayer":
        return ModelPlayer(self, seed)


@dataclass
class ModelPlayer:
    model: Model
    seed: int
    history: Chat = field(default_factory=list)
    turn: int = 0
    closed: bool = False

    async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
        assert not self.closed
        await asyncio.sleep(0)
        history = [*self.history, *observation]
        text = self.model.say(Random(f"{self.seed} {self.turn}"), history)
        self.history, self.turn = [*history, assistant(text)], self.turn + 1
        logprobs = (self.model.logprob(text),)
        return Action(
            assistant(text),
            (1,),
            (2,),
            logprobs,
            "stop",
            prompt_tokens=10 * len(history),
            completion_tokens=1,
        )

    def branch(self, seed: int) -> "ModelPlayer":
        return ModelPlayer(self.model, seed, self.history, self.turn)

    def close(self) -> None:
        self.closed = True


ANY = Model(lambda random, history: str(random.randrange(3)))


def play(policy: Policy, n: int = 40, id: str = "tests/Lock-v0", **arguments: Any) -> list[Episode]:
    return rollout(policy, EnvironmentSpec(id, arguments), [EpisodeStart(seed) for seed in range(n)])


def success(episodes: list[Episode]) -> float:
    assert not any(episode.is_fault for episode in episodes)
    return sum(episode.success for episode in episodes) / len(episodes)


# Best of n


@pytest.mark.parametrize("n", [1, 2, 6])
def test_best_of_n_succeeds_as_often_as_one_of_n_does(n: int) -> None:
    """Two wheels: p = 1/9, and 1 - (8/9)^n at best."""
    episodes = play(BestOfN(ANY, n), 600, length=2)
    interval = wilson(sum(episode.success for episode in episodes), len(episodes))
    assert interval.low < 1 - (8 / 9) ** n < interval.high


def test_best_of_n_with_a_score_of_its_own() -> None:
    sure = Model(lambda random, history: str(random.randrange(3)), lambda text: -float(text))
    episodes = play(BestOfN(sure, 40, likelihood), 20, length=1)
    assert {episode.turns[0].reply["content"] for episode in episodes} == {"0"}
    with pytest.raises(SearchError, match="no log-probabilities"):
        play(BestOfN(ScriptedPolicy("guess"), 2, likelihood))


def test_all_that_was_sampled_is_counted_once() -> None:
    right = Model(lambda random, history: "0")
    (episode,) = play(BestOfN(right, 5), 1, length=1)
    assert [(turn.prompt_tokens, turn.completion_tokens) for turn in episode.turns] == [(100, 5)]
    (direct,) = play(ANY, 1, length=3)
    (tried,) = play(BestOfN(ANY, 200), 1, length=3)
    assert tried.success
    assert len(tried.turns) == 3
    first, *others = [(turn.prompt_tokens, turn.completion_tokens) for turn in tried.turns]
    assert first[1] > 200
    assert others == [(0, 0), (0, 0)]
    assert [turn.completion_ids for turn in tried.turns] == [(2,)] * 3
    assert sum(turn.completion_tokens for turn in direct.turns) == len(direct.turns)


def test_scripted_players_can_be_tried_several_times() -> None:
    once, best = (
        play(choose_policy("scripted:guess", agent=a), 100, length=1) for a in ("direct", "best-of-10")
    )
    assert success(once) < 0.35 < 0.55 < success(best)


# Majority


def test_a_majority_is_right_more_often_than_one() -> None:
    """It is right six times in ten, and otherwise wrong in two ways."""

    def say(random: Random, history: Chat) -> str:
        return f"so <answer>{random.choices('012', [0.6, 0.2, 0.2])[0]}</answer>"

    def said(episodes: list[Episode]) -> float:
        return sum("<answer>0" in str(episode.turns[0].reply["content"]) for episode in episodes) / len(
            episodes
        )

    one, many = (said(play(policy, 100, length=1)) for policy in (Model(say), Majority(Model(say), 25)))
    assert one < 0.7 < 0.9 < many


def test_a_majority_follows_the_first_line_that_agrees_and_sees_no_reward() -> None:
    answers = iter(["1", "0", " 2", "2 ", "1", "2"])
    (episode,) = play(Majority(Model(lambda random, history: next(answers)), 6), 1, length=1)
    assert episode.turns[0].reply["content"] == " 2"


def node_of(reply: Any) -> Node:
    return Node(None, [], {}, (Step([], Action(reply), 0.0),))


def test_what_counts_as_the_same_answer() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": 2}}}
    swapped = {**call, "id": "b", "function": {"arguments": {"y": 2, "x": 1}, "name": "f"}}
    assert final_answer(node_of({"role": "assistant", "content": "a", "tool_calls": [call]})) == final_answer(
        node_of({"role": "assistant", "content": "b", "tool_calls": [swapped]})
    )
    assert final_answer(node_of("I first thought <answer>3</answer> <answer> 4 </answer>")) == "4"
    assert final_answer(node_of("Blue  Whale\n")) == final_answer(node_of("blue whale"))
    assert final_answer(node_of(" ")) is None


def test_a_majority_counts_as_one_what_a_judge_takes_for_the_same() -> None:
    def submits(arguments: Any) -> Any:
        function = {"name": "submit", "arguments": arguments}
        call = {"id": str(arguments), "type": "function", "function": function}
        return final_answer(node_of({"role": "assistant", "content": "", "tool_calls": [call]}))

    assert submits({"pages": ["a", "b"], "answer": "The Sea"}) == submits(
        '{"answer": "sea", "pages": ["b", "a"]}'
    )
    assert submits({"value": 4.2}) == submits('{"value": "4.20"}') != submits({"value": 4.3})
    assert final_answer(node_of("<answer>0.5</answer>")) == final_answer(node_of("<answer>1/2</answer>"))
    malformed: Any = {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": 7}]}
    assert final_answer(node_of(malformed)) is not None


# Search over turns


def test_beam_and_mcts_open_what_chance_does_not() -> None:
    """Six wheels: chance opens them once in 729 times. A right digit is among 16 samples all but twice in a
    thousand times."""
    assert success(play(ANY)) < 0.1
    assert success(play(Beam(ANY, width=2, samples=16))) > 0.9
    assert success(play(MCTS(ANY, simulations=60, width=16))) > 0.9


def test_mcts_with_a_value_needs_no_play_to_the_end() -> None:
    guided = play(MCTS(ANY, simulations=60, width=16, value=lambda node: 0.1))
    blind = play(MCTS(ANY, simulations=60, width=16))
    assert success(guided) > 0.9
    tokens = [sum(turn.completion_tokens for e in played for turn in e.turns) for played in (guided, blind)]
    assert tokens[0] < tokens[1]


def test_mcts_finds_what_pays_only_in_the_end() -> None:
    episodes = play(MCTS(ANY, simulations=400, width=16), length=4, pays=False)
    assert success(episodes) > 0.7 > 0.2 > success(play(ANY, length=4, pays=False))


@pytest.mark.parametrize(
    "policy", [BestOfN(ANY, 3), Majority(ANY, 3), Beam(ANY, 2, 2), MCTS(ANY, 8), ReAct(ANY)]
)
def test_searches_repeat(policy: Any) -> None:
    def replies() -> list[Any]:
        return [[turn.reply for turn in episode.turns] for episode in play(policy, 6)]

    assert replies() == replies()


@pytest.mark.parametrize("agent", [BestOfN, Majority, Beam, MCTS])
def test_what_breaks_in_a_copy_is_a_fault(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Action:
        raise EngineFault("gone")

    before = threading.active_count()
    monkeypatch.setattr(Lock, "step_fails", True)
    (episode,) = play(agent(ANY), 1)
    assert (episode.stop, episode.fault) == (StopReason.ENVIRONMENT_FAULT, "rusty")
    monkeypatch.setattr(ModelPlayer, "act", broken)
    (episode,) = play(agent(ANY), 1)
    assert (episode.stop, episode.fault) == (StopReason.ENGINE_FAULT, "gone")
    assert soon(lambda: threading.active_count() <= before)


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it comes true; threads end a moment after they were told to."""
    return any(condition() or threading.Event().wait(0.01) for _ in range(500)) or condition()


@pytest.mark.parametrize("agent", [BestOfN, Majority, Beam, MCTS])
def test_no_room_in_the_context_ends_the_line(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> Action:
        return Action(assistant(""), finish="length")

    monkeypatch.setattr(ModelPlayer, "act", full)
    (episode,) = play(agent(ANY, 2), 1)
    assert (episode.stop, episode.turns) == (StopReason.TOKEN_LIMIT, ())


def test_an_environment_that_answers_differently_in_a_copy_is_named() -> None:
    with pytest.raises(SearchError, match="the same actions"):
        play(BestOfN(ANY, 2), 1, "tests/Fickle-v0")


def test_what_cannot_be_searched_is_said() -> None:
    with pytest.raises(SearchError, match="ScriptedPolicy cannot be continued"):
        play(MCTS(ScriptedPolicy("guess")), 1)
    with pytest.raises(SearchError, match="cannot be branched"):
        play(Beam(ReAct(ScriptedPolicy("guess"))), 1)
    with pytest.raises(SearchError, match=r"CartPole-v1 cannot be copied"):
        BestOfN(ANY).player(gymnasium.make("CartPole-v1"), 0)


# ReAct


class Door(ToolEnv):
    """Open the right door, then say what is behind it."""

    scripted: ClassVar[Any] = {}
    rubric = Rubric({"tool_errors": -0.1, "right": 1.0})
    max_turns = 5

    def start(self, rng: Any, options: Any) -> Start:
        return Start([system("Doors."), user("What is behind the red door?")], "door", "")

    def respond(self, state: str, text: str) -> Outcome:
        right = text == state == "a goat"
        return Outcome(state, [user("No.")], {"right": float(right)}, right, right)

    @tool
    def open(self, state: str, door: Literal["red", "blue"]) -> Answer:
        """Open a door.

        Args:
            door: which.
        """
        behind = "a goat" if door == "red" else "nothing"
        return Answer(behind, f"Behind it: {behind}")


gymnasium.register("tests/Door-v0", entry_point=Door)


@pytest.mark.parametrize(
    "written",
    [
        'Action: open(door="red")',
        'Action: open\nAction Input: {"door": "red"}',
        'Action: open(door="red")\nObservation: Behind it: gold\nAction: open(door="blue")',
    ],
)
def test_react_acts_on_what_is_written_and_answers_with_the_final_words(written: str) -> None:
    heard: list[Chat] = []

    def say(random: Random, history: Chat) -> str:
        heard.append(history)
        if len(history) == 2:
            return f"Thought: I look.\n{written}"
        return "Thought: now I know.\nFinal answer: a goat"

    (episode,) = play(ReAct(Model(say)), 1, "tests/Door-v0")
    assert episode.success
    assert "Thought:" in str(heard[0][0]["content"])
    assert str(heard[0][0]["content"]).startswith("Doors.\n\n")
    assert heard[1][-1] == user("Observation: Behind it: a goat")
    first, last = episode.turns
    assert first.reply["content"] == f"Thought: I look.\n{written}"
    assert len(first.reply["tool_calls"]) == 1
    assert last.observation[0]["role"] == "tool"
    assert last.reply["content"] == "a goat"


def test_react_leaves_native_calls_as_they_are() -> None:
    call = {"id": "x", "type": "function", "function": {"name": "open", "arguments": '{"door": "red"}'}}

    class Native(ModelPlayer):
        async def act(self, observation: Chat, info: dict[str, Any]) -> Action:
            if self.turn == 1:
                assert observation == [{"role": "tool", "tool_call_id": "x", "content": "Behind it: a goat"}]
                return Action("Final answer: a goat")
            self.turn = 1
            return Action({"role": "assistant", "content": "Action: no(x=1)", "tool_calls": [call]})

    class NativeModel(Model):
        def player(self, env: Any, seed: int) -> ModelPlayer:
            return Native(self, seed)

    (episode,) = play(ReAct(NativeModel(lambda random, history: "")), 1, "tests/Door-v0")
    assert episode.success


def test_a_written_call_that_is_malformed_keeps_its_text() -> None:
    (call,) = written_calls("Action: open\nAction Input: {door: red")
    assert (call.name, call.arguments) == ("open", "{door: red")
    (call,) = written_calls("Action: open(door=")
    assert (call.name, call.arguments) == ("open", "(door=")
    assert not written_calls("I took Action: none")
    assert final_words("no marker\nat all") == "no marker\nat all"
    assert final_words("Final answer: 1\nThought: no\nfinal answer: 2\n") == "2"


# By name


@pytest.mark.parametrize(
    ("agent", "made"),
    [
        ("direct", ScriptedPolicy("guess", 3)),
        ("react", ReAct(ScriptedPolicy("guess", 3))),
        ("best-of", BestOfN(ScriptedPolicy("guess", 3), 8)),
        ("majority-5", Majority(ScriptedPolicy("guess", 3), 5)),
    ],
)
def test_agents_have_names(agent: str, made: Policy) -> None:
    assert choose_policy("scripted:guess", seed=3, agent=agent) == made


@pytest.mark.parametrize(
    ("model", "agent", "says"),
    [
        ("scripted:guess", "mcts-9", "take best-of-9"),
        ("http://127.0.0.1:9", "beam", "give --temperature 1"),
        ("some/model", "majority-3", "give --temperature 1"),
        ("some/model", "oracle", "take direct, react, best-of-N"),
        ("some/model", "best-of-0", "take direct"),
        ("some/model", "", "take direct"),
    ],
)
def test_agents_that_cannot_be_are_refused_before_anything_is_loaded(
    model: str, agent: str, says: str
) -> None:
    with pytest.raises(AgentError, match=says):
        choose_policy(model, agent=agent)
