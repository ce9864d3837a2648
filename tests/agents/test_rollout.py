import asyncio
import dataclasses
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

from ludus.agents.engines.base import Completion, EngineFault, Sampling, ServerRefusal
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.episode import Episode, StopReason
from ludus.agents.formats.base import Prompt
from ludus.agents.policy import Action, EnginePolicy, ScriptedPolicy, derive_seed
from ludus.agents.replay import replay
from ludus.agents.rollout import (
    Environments,
    EnvironmentSpec,
    EpisodeStart,
    Limits,
    RolloutError,
    rollout,
    rollout_async,
    rollout_mixed,
)
from ludus.envs.base import ChatEnv, Outcome, Start, Verdict, task_key
from ludus.envs.chat import Chat, Message, assistant, user
from ludus.envs.faults import EnvironmentFault
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.errors import UserError


class Counter(ScriptedAgent):
    """Counts its turns: "0", "1", …"""

    def begin(self) -> None:
        self.turn = 0

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        self.turn += 1
        return str(self.turn - 1)


class Echo(ChatEnv):
    """Ends after `length` replies; `act` is called with the seed and the turn before it answers."""

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = {"counter": Counter}
    rubric = Rubric({"length": 0.5, "turns": 1.0})
    max_turns = 50
    act: ClassVar[Callable[[int, int], None]]
    made: ClassVar[list["Echo"]]

    def __init__(self, length: int = 3, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.length = length
        self.closed = False
        self.threads: set[int] = set()
        Echo.made.append(self)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.seed = seed or 0
        self.threads.add(threading.get_ident())
        Echo.act(self.seed, -1)
        return super().reset(seed=seed, options=options)

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        return Start([user(f"begin {rng.integers(1000)}")], f"task-{self.seed}", 0, "short")

    def respond(self, state: int, text: str) -> Outcome:
        self.threads.add(threading.get_ident())
        Echo.act(self.seed, state)
        done = state + 1 == self.length
        terms = {"length": float(len(text)), "turns": 1.0}
        return Outcome(state + 1, [user(f"heard {text}")], terms, done, done)

    def render(self) -> Any:
        return f"{self.seed}:{self._state}"

    def close(self) -> None:
        self.closed = True


class Corridor(gymnasium.Env[Any, Any]):
    """A native environment: walk right."""

    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.int64)
    action_space = gymnasium.spaces.Discrete(2)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    class Right(ScriptedAgent):
        def act(self, observation: Any, info: dict[str, Any]) -> Any:
            return np.int64(observation[0] % 2)

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = {"oracle": Right}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.at = int(self.np_random.integers(3))
        return np.array([self.at]), {}

    def step(self, action: Any) -> Any:
        self.at += 1 + int(action)
        done = self.at >= 9
        info = {"success": True} if done else {}
        return np.array([self.at]), float(action) + 0.25, done, False, info

    def render(self) -> Any:
        return np.full((2, 2, 3), self.at, np.uint8)


gymnasium.register("tests/Echo-v0", entry_point=Echo)
gymnasium.register("tests/Corridor-v0", entry_point=Corridor)
ECHO = EnvironmentSpec("tests/Echo-v0")
COUNTER = ScriptedPolicy("counter")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    Echo.act = staticmethod(lambda seed, turn: None)
    Echo.made = []
    yield
    assert all(env.closed for env in Echo.made)


def starts(n: int) -> list[EpisodeStart]:
    return [EpisodeStart(seed, group=seed // 2, sample=seed % 2) for seed in range(n)]


def without_times(episodes: Sequence[Episode]) -> list[tuple[Any, ...]]:
    return [
        (
            episode.seed,
            episode.stop,
            episode.success,
            [
                (t.prompt_ids, t.completion_ids, t.logprobs, t.finish, t.fork, t.reward, t.reply)
                for t in episode.turns
            ],
        )
        for episode in episodes
    ]


def test_scripted_episodes_are_recorded_in_the_order_of_their_starts() -> None:
    seen: list[Episode] = []
    Echo.act = staticmethod(lambda seed, turn: time.sleep(0.002 * (seed % 3)))
    episodes = rollout(
        COUNTER, EnvironmentSpec(ECHO.id, {"length": 2}), starts(7), concurrency=3, on_episode=seen.append
    )
    assert [episode.seed for episode in episodes] == list(range(7))
    assert sorted(map(id, seen)) == sorted(map(id, episodes))
    assert len(Echo.made) == 3
    assert all(len(env.threads) == 1 for env in Echo.made)
    episode = episodes[5]
    assert (episode.environment, episode.arguments) == (ECHO.id, {"length": 2})
    assert (episode.task_name, episode.group, episode.sample) == ("task-5", 2, 1)
    assert episode.task == str(task_key("task-5"))
    assert (episode.stop, episode.success) == (StopReason.TERMINATED, True)
    assert [turn.reply for turn in episode.turns] == [assistant("0"), assistant("1")]
    assert episode.turns[0].observation[0]["content"].startswith("begin")
    assert episode.turns[1].observation == [user("heard 0")]
    assert episode.final_observation == [user("heard 1")]
    assert [turn.reward for turn in episode.turns] == [1.5, 1.5]
    assert episode.reward_terms() == {"length": 2.0, "turns": 2.0}


def test_scripted_rollouts_need_no_torch() -> None:
    code = (
        "import sys, ludus.agents.rollout, ludus.agents.policy, ludus.agents.store, ludus.agents.evaluate\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_steps_run_at_the_same_time_and_off_the_event_loop() -> None:
    barrier = threading.Barrier(4)  # passes only where four environments step at once
    Echo.act = staticmethod(lambda seed, turn: barrier.wait(timeout=20) and None)
    assert len(rollout(COUNTER, ECHO, starts(4), concurrency=4)) == 4


def test_no_starts_no_episodes() -> None:
    assert rollout(COUNTER, ECHO, []) == []


@pytest.mark.parametrize("turn", [-1, 0, 2])
def test_a_fault_is_confined_to_its_episode(turn: int) -> None:
    def act(seed: int, at: int) -> None:
        if seed == 2 and at == turn:
            raise EnvironmentFault("the server died")

    Echo.act = staticmethod(act)
    episodes = rollout(COUNTER, ECHO, starts(6), concurrency=2)
    assert [episode.is_fault for episode in episodes] == [seed == 2 for seed in range(6)]
    faulty = episodes[2]
    assert (faulty.stop, faulty.fault) == (StopReason.ENVIRONMENT_FAULT, "the server died")
    assert len(faulty.turns) == turn + 1  # the action on which it broke included
    assert [e.episode_return for e in episodes if not e.is_fault] == [4.5] * 5
    assert len(Echo.made) == 3  # two seats, and one environment anew


@pytest.mark.parametrize("turn", [-1, 1])
def test_a_step_that_never_returns_costs_its_own_episode(turn: int) -> None:
    over = threading.Event()
    Echo.act = staticmethod(lambda seed, at: (seed == 1 and at == turn and over.wait(30)) and None)
    episodes = rollout(COUNTER, ECHO, starts(5), Limits(step_seconds=0.2), concurrency=2)
    assert [episode.is_fault for episode in episodes] == [False, True, False, False, False]
    assert episodes[1].fault == f"{'reset' if turn < 0 else 'step'}() gave no answer within 0.2 s"
    over.set()
    for _ in range(200):  # the abandoned thread closes its environment once it comes back
        if all(env.closed for env in Echo.made):
            break
        time.sleep(0.01)


def test_an_environment_that_cannot_be_made_anew_is_a_fault_of_each_episode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[EnvironmentSpec] = []
    make = EnvironmentSpec.make

    def fragile(spec: EnvironmentSpec, **extra: Any) -> Any:
        made.append(spec)
        if len(made) > 1:
            raise EnvironmentFault("nothing listens there")
        return make(spec, **extra)

    def act(seed: int, turn: int) -> None:
        if seed == 1:
            raise EnvironmentFault("the server died")

    monkeypatch.setattr(EnvironmentSpec, "make", fragile)
    Echo.act = staticmethod(act)
    episodes = rollout(COUNTER, ECHO, starts(4), concurrency=1)
    assert [e.fault for e in episodes] == [
        "",
        "the server died",
        "nothing listens there",
        "nothing listens there",
    ]


def test_a_bug_ends_the_rollout_and_says_where() -> None:
    def act(seed: int, turn: int) -> None:
        if seed == 3 and turn == 1:
            raise ZeroDivisionError("oh")

    Echo.act = staticmethod(act)
    with pytest.raises(
        RolloutError, match=r"tests/Echo-v0 \(seed 3, turn 1\): ZeroDivisionError: oh"
    ) as caught:
        rollout(COUNTER, ECHO, starts(20), concurrency=4)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_the_user_can_mend_is_no_bug() -> None:
    class Impossible(UserError):
        pass

    def act(seed: int, turn: int) -> None:
        raise Impossible("rows=1: at least 7")

    Echo.act = staticmethod(act)
    with pytest.raises(Impossible, match="rows=1: at least 7"):
        rollout(COUNTER, ECHO, starts(2))


def test_an_unknown_scripted_agent_is_named() -> None:
    with pytest.raises(KeyError, match="tests/Echo-v0 has no scripted agent 'oracle'; it has counter"):
        rollout(ScriptedPolicy("oracle"), ECHO, starts(1))


def test_ctrl_c_closes_everything() -> None:
    with pytest.raises(KeyboardInterrupt):
        rollout(
            COUNTER,
            ECHO,
            starts(50),
            concurrency=4,
            on_episode=lambda episode: signal.raise_signal(signal.SIGINT),
        )
    assert len(Echo.made) == 4


def test_turn_limit() -> None:
    (episode,) = rollout(COUNTER, ECHO, starts(1), Limits(turns=2))
    assert (episode.stop, len(episode.turns)) == (StopReason.TURN_LIMIT, 2)
    assert episode.final_observation == [user("heard 1")]


class Stub:
    """A policy whose players answer with what a function gives for (turn)."""

    def __init__(self, answer: Callable[[int], Any]) -> None:
        self.answer = answer

    def player(self, env: Any, seed: int) -> "Stub":
        stub = Stub(self.answer)
        stub.turn = -1
        return stub

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        self.turn += 1
        answer = self.answer(self.turn)
        return await answer if asyncio.iscoroutine(answer) else answer

    def close(self) -> None: ...


def test_token_limit_counts_the_context_and_starts_anew_on_a_fork() -> None:
    def answer(turn: int) -> Action:
        return Action(assistant("x"), (1,) * 5, (2,) * 3, (0.0,) * 3, "stop", fork=turn == 2)

    spec = EnvironmentSpec(ECHO.id, {"length": 9})
    (episode,) = rollout(Stub(answer), spec, starts(1), Limits(tokens=20))
    # 8, 16, then a fork: 8, 16, 24
    assert (episode.stop, len(episode.turns)) == (StopReason.TOKEN_LIMIT, 5)


def test_time_limit_ends_even_an_action_that_never_comes() -> None:
    (episode,) = rollout(Stub(lambda turn: asyncio.sleep(60)), ECHO, starts(1), Limits(episode_seconds=0.05))
    assert (episode.stop, episode.turns) == (StopReason.TIME_LIMIT, ())


def test_a_fault_of_the_engine_is_confined_too() -> None:
    def answer(turn: int) -> Action:
        if turn == 1:
            raise EngineFault("the device was lost")
        return Action(assistant("x"))

    (episode,) = rollout(Stub(answer), ECHO, starts(1))
    assert (episode.stop, episode.fault, len(episode.turns)) == (
        StopReason.ENGINE_FAULT,
        "the device was lost",
        1,
    )


def test_a_refusal_ends_its_episode_and_is_neither_scored_nor_a_fault() -> None:
    def answer(turn: int) -> Action:
        if turn == 1:
            raise ServerRefusal("content filter: \ud83d")
        return Action(assistant("x"))

    (episode,) = rollout(Stub(answer), ECHO, starts(1))
    assert (episode.stop, episode.fault, len(episode.turns)) == (
        StopReason.REFUSED,
        "content filter: \ufffd",
        1,
    )
    assert (episode.is_refusal, episode.is_fault, episode.is_scored) == (True, False, False)


def test_half_a_character_is_recorded_as_one_that_files_can_hold() -> None:
    (episode,) = rollout(Stub(lambda turn: Action(assistant("\ud83d\ude00 \ud83d"))), ECHO, starts(1))
    assert {turn.reply["content"] for turn in episode.turns} == {"\U0001f600 \ufffd"}
    assert episode.final_observation == [user("heard \U0001f600 \ufffd")]


def test_what_an_environment_says_of_an_episode_is_recorded() -> None:
    Echo.verdict = property(lambda env: Verdict("42", f"said {env._state} things"))
    try:
        (ended,) = rollout(COUNTER, ECHO, starts(1))
        (cut,) = rollout(COUNTER, ECHO, starts(1), Limits(turns=1))
    finally:
        del Echo.verdict
    assert ended.success
    assert (ended.expected, ended.failure, ended.task_kind) == ("", "", "short")
    assert (cut.expected, cut.failure, cut.stop) == ("42", "said 1 things", StopReason.TURN_LIMIT)


def test_an_episode_carries_its_oldest_weights() -> None:
    (episode,) = rollout(Stub(lambda turn: Action(assistant("x"), weights_version=7 - turn)), ECHO, starts(1))
    assert episode.weights_version == 5


def test_native_environments_record_actions_and_no_messages() -> None:
    spec = EnvironmentSpec("tests/Corridor-v0")
    episodes = rollout(ScriptedPolicy("oracle"), spec, starts(4))
    for episode in episodes:
        assert episode.success
        assert episode.final_observation == []
        assert {turn.reply["content"] for turn in episode.turns} <= {"0", "1"}
        frames = replay(episode)
        assert [frame[0, 0, 0] for frame in frames] == sorted(frame[0, 0, 0] for frame in frames)
        assert len(frames) == len(episode.turns) + 1
        assert frames[-1][0, 0, 0] >= 9


def test_replay_collects_what_was_drawn_between_the_turns() -> None:
    (episode,) = rollout(ScriptedPolicy("oracle"), EnvironmentSpec("ludus/PacManChat-v0"), [EpisodeStart(3)])
    frames = replay(episode, render_mode="rgb_array_list")
    assert len(frames) > len(episode.turns) + 1 == len(replay(episode))
    assert all(frame.shape == frames[0].shape for frame in frames)


def test_replay_shows_every_state_and_refuses_another_environment() -> None:
    (episode,) = rollout(COUNTER, ECHO, [EpisodeStart(4)])
    assert replay(episode, render_mode="ansi") == ["4:0", "4:1", "4:2", "4:3"]
    first, second, third = episode.turns
    wrong = dataclasses.replace(episode, turns=(first, dataclasses.replace(second, reward=9.0), third))
    with pytest.raises(ValueError, match=r"tests/Echo-v0 \(seed 4\) pays 1.5 on turn 1, the record says 9.0"):
        replay(wrong, render_mode="ansi")


# With an engine.


class Letters:
    """Ids are bytes; 256 ends a turn (so do those from 258 on, which gives a random model a chance), 257
    begins one. With `forget`, it shows the model nothing but the newest messages, so every later turn
    forks."""

    stop_ids = (256, *range(258, 300))
    pad_id = 299
    vocab_size = 300

    def __init__(self, forget: bool = False) -> None:
        self.forget = forget

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        return Prompt((*b"".join(message["content"].encode() for message in messages), 257), fork=False)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        assert history[-1]["role"] == "assistant"
        ids = self.first_prompt(added).ids
        if self.forget:
            return Prompt(ids, fork=True)
        return Prompt(ids if context[-1] in self.stop_ids else (256, *ids), fork=False)

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        return assistant("".join(chr(id) for id in completion_ids if id < 256))

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [chr(id) for id in ids]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        return [chr(id).encode() for id in ids]


def test_what_was_sampled_is_what_is_recorded(model: Any) -> None:
    policy = EnginePolicy(
        EmbeddedEngine(model, patience_s=30), Letters(), Sampling(max_tokens=9, temperature=2.0)
    )
    episodes = rollout(policy, ECHO, starts(8))
    finishes = [turn.finish for episode in episodes for turn in episode.turns]
    assert set(finishes) == {"length", "stop"}
    for episode in episodes:
        (row,) = episode.training_sequences()
        ended = [turn for turn in episode.turns if turn.finish == "stop"]
        for turn in episode.turns:
            assert len(turn.logprobs) == len(turn.completion_ids)
            ends = [id in Letters.stop_ids for id in turn.completion_ids]
            assert sum(ends) == sum(ends[-1:]) == (turn.finish == "stop")
        # the end of each turn is there once: sampled where it was sampled, else put there by the format
        ends = [sampled for id, sampled in zip(row.ids, row.sampled, strict=True) if id in Letters.stop_ids]
        assert sum(ends) == len(ended)
        unfinished = [turn for turn in episode.turns[:-1] if turn.finish == "length"]
        assert ends.count(False) == len(unfinished)
        assert all(logprob < 0 for logprob, sampled in zip(row.logprobs, row.sampled, strict=True) if sampled)


def test_recorded_logprobs_are_those_of_the_whole_sequence(model: Any) -> None:
    import torch

    policy = EnginePolicy(EmbeddedEngine(model), Letters(), Sampling(max_tokens=9, temperature=1.3))
    for episode in rollout(policy, ECHO, starts(3)):
        (row,) = episode.training_sequences()
        with torch.no_grad():
            logits = model(torch.tensor([row.ids])).logits[0, :-1] / 1.3
        plain = torch.log_softmax(logits, -1).gather(1, torch.tensor(row.ids[1:])[:, None])[:, 0]
        sampled = torch.tensor(row.sampled[1:])
        torch.testing.assert_close(
            plain[sampled], torch.tensor(row.logprobs[1:])[sampled], atol=3e-5, rtol=1e-5
        )


def test_a_template_that_rewrites_history_makes_rows_of_its_own(model: Any) -> None:
    policy = EnginePolicy(EmbeddedEngine(model), Letters(forget=True), Sampling(max_tokens=5))
    (episode,) = rollout(policy, ECHO, starts(1))
    assert [turn.fork for turn in episode.turns] == [False, True, True]
    rows = episode.training_sequences()
    assert len(rows) == 3
    assert sum(sum(row.sampled) for row in rows) == sum(len(turn.completion_ids) for turn in episode.turns)


def test_samples_of_a_group_share_the_start_and_differ_in_what_is_drawn(model: Any) -> None:
    policy = EnginePolicy(EmbeddedEngine(model), Letters(), Sampling(max_tokens=8, temperature=1.5))
    group = [EpisodeStart(5, group=0, sample=sample) for sample in range(4)]
    episodes = rollout(policy, ECHO, group)
    assert len({episode.turns[0].prompt_ids for episode in episodes}) == 1
    assert len({episode.turns[0].completion_ids for episode in episodes}) == 4
    other = EnginePolicy(EmbeddedEngine(model), Letters(), Sampling(max_tokens=8, temperature=1.5), seed=1)
    assert without_times(rollout(other, ECHO, group)) != without_times(episodes)


def test_rollouts_repeat_to_the_bit_whatever_the_timing(model: Any) -> None:
    def play(seed: int) -> list[tuple[Any, ...]]:
        delays = random.Random(seed)
        Echo.act = staticmethod(lambda _seed, _turn: time.sleep(delays.random() * 0.01))
        engine = EmbeddedEngine(model, slots=4, patience_s=30)
        policy = EnginePolicy(engine, Letters(), Sampling(max_tokens=9, temperature=1.5))
        return without_times(rollout(policy, ECHO, starts(14), concurrency=5))

    first = play(0)
    assert play(1) == first
    assert play(2) == first


def test_episodes_of_several_environments_are_played_together_and_repeat_to_the_bit(model: Any) -> None:
    long = EnvironmentSpec(ECHO.id, {"length": 6})
    jobs = [(long if seed % 3 else ECHO, start) for seed, start in enumerate(starts(14))]

    def play(seed: int) -> list[Episode]:
        delays = random.Random(seed)
        Echo.made = []
        Echo.act = staticmethod(lambda _seed, _turn: time.sleep(delays.random() * 0.01))
        engine = EmbeddedEngine(model, slots=4, patience_s=30)
        policy = EnginePolicy(engine, Letters(), Sampling(max_tokens=9, temperature=1.5))
        return rollout_mixed(policy, jobs, concurrency=5)

    first = play(0)
    assert [(episode.arguments, episode.seed) for episode in first] == [
        (spec.arguments, start.seed) for spec, start in jobs
    ]
    assert {len(episode.turns) for episode in first} == {3, 6}
    assert len(Echo.made) == 10
    assert all(env.closed for env in Echo.made)
    assert without_times(play(1)) == without_times(first)
    assert without_times(play(2)) == without_times(first)


def test_environments_are_kept_from_one_rollout_to_the_next() -> None:
    long = EnvironmentSpec(ECHO.id, {"length": 6})
    jobs = [(ECHO, start) for start in starts(6)]
    mixed = [*jobs, *((long, start) for start in starts(4))]
    alone = [without_times(rollout_mixed(COUNTER, played, concurrency=3)) for played in (jobs, mixed)]
    Echo.made = []
    with Environments() as environments:

        def play(played: Sequence[tuple[EnvironmentSpec, EpisodeStart]]) -> list[tuple[Any, ...]]:
            return without_times(rollout_mixed(COUNTER, played, concurrency=3, environments=environments))

        assert play(jobs) == alone[0]
        assert play(mixed) == alone[1]
        assert len(Echo.made) == 6
        assert not any(env.closed for env in Echo.made)
        assert play(jobs) == alone[0]
        assert [env.length for env in Echo.made if env.closed] == [6, 6, 6]

        Echo.act = staticmethod(lambda _seed, turn: turn < 1 or int("no number"))
        with pytest.raises(RolloutError, match="no number"):
            play(jobs)
        assert all(env.closed for env in Echo.made)
        Echo.act = staticmethod(lambda _seed, _turn: None)
        assert play(jobs) == alone[0]
        assert len(Echo.made) == 9


def test_a_slow_environment_costs_its_own_episode_only(model: Any) -> None:
    others_done = threading.Event()
    done: list[int] = []

    def act(seed: int, turn: int) -> None:
        if seed == 1 and turn == 1:
            assert others_done.wait(60), "the others waited for the slow one"

    def on_episode(episode: Episode) -> None:
        done.append(episode.seed)
        if len(done) == 5:
            others_done.set()

    Echo.act = staticmethod(act)
    engine = EmbeddedEngine(model, patience_s=0.02)
    policy = EnginePolicy(engine, Letters(), Sampling(max_tokens=4, temperature=0))
    episodes = rollout(policy, ECHO, starts(6), concurrency=3, on_episode=on_episode)
    assert done[-1] == 1
    assert [episode.stop for episode in episodes] == [StopReason.TERMINATED] * 6


def test_a_fault_leaves_the_others_as_they_would_have_been(model: Any) -> None:
    def play(fail: bool) -> list[tuple[Any, ...]]:
        def act(seed: int, turn: int) -> None:
            if fail and seed == 2 and turn == 1:
                raise EnvironmentFault("the server died")

        Echo.act = staticmethod(act)
        policy = EnginePolicy(EmbeddedEngine(model), Letters(), Sampling(max_tokens=6, temperature=0))
        return without_times(rollout(policy, ECHO, starts(6), concurrency=3))

    sound, faulty = play(False), play(True)
    assert faulty[2][1] == StopReason.ENVIRONMENT_FAULT
    for seed in (0, 1, 3, 4, 5):
        texts = [[turn[-1] for turn in episodes[seed][3]] for episodes in (sound, faulty)]
        assert texts[0] == texts[1]


def test_an_answer_that_the_context_cut_off_ends_the_episode_at_the_token_limit(model: Any) -> None:
    engine = EmbeddedEngine(model, max_context=60)
    policy = EnginePolicy(engine, Letters(), Sampling(max_tokens=20, temperature=0, stop_ids=(299,)))
    (episode,) = rollout(policy, EnvironmentSpec(ECHO.id, {"length": 40}), starts(1))
    assert episode.stop == StopReason.TOKEN_LIMIT
    assert not episode.success
    assert all(turn.finish == "length" and turn.completion_ids for turn in episode.turns)
    assert len(episode.training_sequences()[0].ids) <= 60


def test_a_first_prompt_longer_than_the_context_is_no_reply_at_all(model: Any) -> None:
    policy = EnginePolicy(EmbeddedEngine(model, max_context=5), Letters())
    (episode,) = rollout(policy, ECHO, starts(1))
    assert (episode.stop, episode.turns) == (StopReason.TOKEN_LIMIT, ())


def test_rollouts_run_inside_an_event_loop_too() -> None:
    async def main() -> list[Episode]:
        one, other = await asyncio.gather(
            rollout_async(COUNTER, ECHO, starts(2)), rollout_async(COUNTER, ECHO, starts(3))
        )
        return [*one, *other]

    assert len(asyncio.run(main())) == 5


def test_a_rollout_waits_inside_an_event_loop_as_in_a_notebook(model: Any) -> None:
    policy = EnginePolicy(EmbeddedEngine(model), Letters(), Sampling(max_tokens=5, temperature=1.0))

    async def cell() -> list[Episode]:
        return [*rollout(COUNTER, ECHO, starts(3)), *rollout(policy, ECHO, starts(2))]

    expected = [*rollout(COUNTER, ECHO, starts(3)), *rollout(policy, ECHO, starts(2))]
    assert without_times(asyncio.run(cell())) == without_times(expected)


def test_what_ends_a_rollout_reaches_a_notebook(model: Any) -> None:
    def act(seed: int, turn: int) -> None:
        if seed == 1:
            raise ZeroDivisionError("oh")

    async def cell() -> None:
        rollout(COUNTER, ECHO, starts(3))

    Echo.act = staticmethod(act)
    with pytest.raises(RolloutError, match="ZeroDivisionError: oh"):
        asyncio.run(cell())


def test_ctrl_c_in_a_notebook_closes_everything() -> None:
    begun, told = threading.Event(), threading.Event()

    async def answer(turn: int) -> Action:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            told.set()
        raise AssertionError

    async def cell() -> None:
        rollout(Stub(answer), ECHO, starts(2))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)  # SIGINT itself is the event loop's
    main = threading.main_thread().ident
    assert main is not None
    threading.Thread(target=lambda: begun.wait(20) and signal.pthread_kill(main, signal.SIGUSR1)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(cell())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told.is_set()


def test_a_scripted_episode_ends_at_its_time_limit_too() -> None:
    Echo.act = staticmethod(lambda seed, turn: time.sleep(0.02))
    spec = EnvironmentSpec(ECHO.id, {"length": 40})
    (episode,) = rollout(COUNTER, spec, starts(1), Limits(episode_seconds=0.1))
    assert episode.stop == StopReason.TIME_LIMIT
    assert 0 < len(episode.turns) < 6


def test_derived_seeds_are_fixed_and_distinct() -> None:
    assert derive_seed(1, 2) == derive_seed(1, 2) == 5142973159532490859
    seeds = {derive_seed(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_completion_is_what_the_engine_says() -> None:
    """An engine other than ours: the player appends exactly the ids it got."""

    class Session:
        async def generate(
            self, ids: Sequence[int], sampling: Sampling, seed: int, pictures: Sequence[str] = ()
        ) -> Completion:
            calls.append(tuple(ids))
            assert sampling.stop_ids == Letters.stop_ids
            return Completion((104, 105, 256), (-0.1, -0.2, -0.3), "stop", 4)

        def close(self) -> None:
            calls.append(())

    class Engine:
        max_context = 100

        def session(self) -> Session:
            return Session()

    calls: list[tuple[int, ...]] = []
    (episode,) = rollout(
        EnginePolicy(Engine(), Letters()), EnvironmentSpec(ECHO.id, {"length": 2}), starts(1)
    )
    assert calls == [calls[0], (*calls[0], 104, 105, 256, *b"heard hi", 257), ()]
    assert episode.turns[0].logprobs == (-0.1, -0.2, -0.3)
    assert episode.weights_version == 4
