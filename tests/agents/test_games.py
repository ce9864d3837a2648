"""Games of a policy against others and itself: what becomes an episode, and that nothing else does."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import pytest

from ludus.agents.engines.base import EngineFault, Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.episode import Episode, StopReason
from ludus.agents.games import PlayedGame, rollout_games
from ludus.agents.models import LoadedModel, load_model
from ludus.agents.policy import Action, EnginePolicy, ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, Job, Limits, rollout
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.envs.errors import ArgumentError

TIC = EnvironmentSpec("ludus/TicTacToeChat-v0", {"seat": "random"})
KUHN = EnvironmentSpec("ludus/KuhnPokerChat-v0", {"seat": "random"})
DILEMMA = EnvironmentSpec("ludus/PrisonersDilemmaChat-v0", {"seat": "random", "rounds": 3})
TINY = SmallModelShape(hidden=16, layers=2, heads=2, kv_heads=1, head_dim=8, intermediate=32, vocabulary=512)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(build_small_model([TIC], TINY, seed=0))


def jobs(spec: EnvironmentSpec, opponent: str, starts: int, samples: int = 1) -> list[Job]:
    return [
        (spec, EpisodeStart(seed, group=seed, sample=sample, opponent=opponent))
        for seed in range(starts)
        for sample in range(samples)
    ]


def said(episode: Episode) -> list[Any]:
    """What there is of an episode, but for times and whom it was against. In an environment the other seat
    has moved already where both move at the same time, which its keys of states show."""
    keyed = episode.environment != DILEMMA.id
    turns = [
        (turn.observation, turn.reply, turn.reward, turn.reward_terms, turn.anchor * keyed)
        for turn in episode.turns
    ]
    about = (episode.task, episode.task_name, episode.stop, episode.success, episode.form_terms)
    return [turns, about, episode.final_observation, episode.expected, episode.failure]


@pytest.mark.parametrize("spec", [TIC, KUHN, DILEMMA], ids=lambda spec: spec.id)
def test_a_seats_episode_is_what_the_environment_with_that_opponent_gives(spec: EnvironmentSpec) -> None:
    """The same messages, rewards, terms, keys and verdicts, from either seat, as from the environment that
    plays the other seat itself; with illegal moves, too."""
    against = EnvironmentSpec(spec.id, {**spec.arguments, "opponent": "random"})
    for agent in ("oracle" if spec is TIC else "random", "cheater-trespasser"):
        policy = ScriptedPolicy(agent)
        played = [game.episodes for game in rollout_games(policy, {}, jobs(spec, "random", 8))]
        direct = rollout(policy, against, [EpisodeStart(seed) for seed in range(8)])
        # An agent that draws its moves draws others: the two derive its seed in different ways.
        if agent != "random":
            assert [said(episode) for (episode,) in played] == [said(episode) for episode in direct]
        assert {episode.turns[0].actor for (episode,) in played} == {"first", "second"}
        assert {episode.task_kind for (episode,) in played} == {"random"}


def test_no_group_mixes_seats_or_starts(model: LoadedModel) -> None:
    games = rollout_games(ScriptedPolicy("random"), {}, jobs(TIC, "self", 3, samples=2))
    groups: dict[int, set[tuple[int, str]]] = {}
    for episode in (episode for game in games for episode in game.episodes):
        groups.setdefault(episode.group, set()).add((episode.seed, episode.turns[0].actor))
    assert sorted(groups) == list(range(6))
    assert all(len(members) == 1 for members in groups.values())


@dataclass
class Moves:
    """A model whose words are taken for the move that it has first in its list, so that games go on; what it
    samples is its own. Its replies may come late."""

    model: LoadedModel
    delay: float = 0.0

    def __post_init__(self) -> None:
        # With an hour of patience, a session that is waited for in vain shows as a test that never ends.
        engine = EmbeddedEngine(self.model.model, slots=8, patience_s=3600.0)
        self.inner = EnginePolicy(engine, self.model.format, Sampling(max_tokens=6))

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> Any:
        player = self.inner.player(env, seed)
        act = player.act

        async def move(observation: Any, info: dict[str, Any]) -> Action:
            action = await act(observation, info)
            await asyncio.sleep(self.delay)
            return replace(action, reply=first_move(observation))

        player.act = move  # type: ignore[method-assign]
        return player


def first_move(observation: Any) -> str:
    move = observation[-1]["content"].splitlines()[-1].removeprefix("Moves: ").split(", ")[0]
    return f"<action>{move}</action>"


def test_only_a_seats_own_tokens_are_marked_as_sampled(model: LoadedModel) -> None:
    """A real game of a model with itself. Of each seat's row, what is marked is what that seat sampled, and
    the rest is the conversation as this seat alone heard it; the other's reply is nowhere in it."""
    policy = Moves(model)
    (game,) = rollout_games(policy, {}, jobs(TIC, "self", 1))
    policy.inner.engine.close()
    first, second = game.episodes
    assert [episode.turns[0].actor for episode in game.episodes] == ["first", "second"]
    assert [len(episode.turns) for episode in game.episodes] == [4, 3]
    for episode, other in ((first, second), (second, first)):
        (row,) = episode.training_sequences()
        own = [id for turn in episode.turns for id in turn.completion_ids]
        assert [id for id, sampled in zip(row.ids, row.sampled, strict=True) if sampled] == own
        opening = model.format.first_prompt(episode.turns[0].observation, []).ids
        assert tuple(row.ids[: len(opening)]) == tuple(opening)
        told = [turn.prompt_ids for turn in episode.turns]
        assert [id for id, sampled in zip(row.ids, row.sampled, strict=True) if not sampled] == [
            *sum(told, ())
        ]
        assert all(m["role"] in ("system", "user") for turn in episode.turns for m in turn.observation)
        sampled_by_other = {turn.completion_ids for turn in other.turns if len(turn.completion_ids) > 3}
        assert sampled_by_other
        runs = {row.ids[i : i + n] for n in range(4, 7) for i in range(len(row.ids))}
        assert not sampled_by_other & (runs - {turn.completion_ids for turn in episode.turns})
    earned = [sum(turn.reward_terms["outcome"] for turn in e.turns) for e in game.episodes]
    assert tuple(earned) == game.outcome == (1.0, -1.0)


def test_two_models_play_bitwise_the_same_whatever_the_timing(model: LoadedModel) -> None:
    """A model against a frozen other one, itself and a scripted player, with more games than play at
    once."""
    other = load_model(build_small_model([TIC], TINY, seed=1))

    def play(delay: float) -> list[PlayedGame]:
        policy, frozen = Moves(model), Moves(other, delay)
        mixed = [*jobs(TIC, "frozen", 3, 2), *jobs(TIC, "self", 2), *jobs(TIC, "random", 2)]
        games = rollout_games(policy, {"frozen": frozen}, mixed, concurrency=4)
        policy.inner.engine.close()
        frozen.inner.engine.close()
        return games

    def numbers(games: list[PlayedGame]) -> list[Any]:
        return [
            [(turn.completion_ids, turn.logprobs) for turn in episode.turns]
            for game in games
            for episode in game.episodes
        ]

    once, again = play(0.0), play(0.01)
    assert numbers(once) == numbers(again)
    assert [len(game.episodes) for game in once] == [1] * 6 + [2] * 2 + [1] * 2


@dataclass
class Breaks:
    """A policy whose engine breaks in its second turn."""

    calls: int = 0
    closed: list[int] = field(default_factory=list)

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "Breaks":
        self.env = env
        return self

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        self.calls += 1
        if self.calls == 2:
            raise EngineFault("the model is gone")
        return Action(reply=first_move(observation))

    def close(self) -> None:
        pass


def test_a_fault_of_the_opponent_is_a_fault_of_the_game() -> None:
    (game,) = rollout_games(ScriptedPolicy("random"), {"them": Breaks()}, jobs(TIC, "them", 1))
    assert game.outcome is None
    (episode,) = game.episodes
    assert episode.stop == StopReason.ENGINE_FAULT
    assert episode.fault == "the model is gone"
    assert not episode.is_scored
    (game,) = rollout_games(Breaks(), {}, jobs(TIC, "self", 1))
    assert [episode.stop for episode in game.episodes] == [StopReason.ENGINE_FAULT] * 2


def test_who_reaches_a_limit_has_lost() -> None:
    games = rollout_games(ScriptedPolicy("oracle"), {}, jobs(TIC, "oracle", 4), Limits(turns=2))
    for game in games:
        (episode,) = game.episodes
        assert game.outcome is not None
        assert game.outcome[game.seat] == -1.0
        assert (episode.stop, len(episode.turns)) == (StopReason.TERMINATED, 2)
        assert episode.turns[-1].reward_terms["outcome"] == -1.0
        assert episode.failure == "no end within 2 replies"


def test_a_seat_that_never_moved_has_no_episode() -> None:
    (game,) = rollout_games(ScriptedPolicy("null"), {}, jobs(TIC, "self", 1))
    assert game.outcome == (-1.0, 1.0)
    (episode,) = game.episodes
    assert (episode.turns[0].actor, len(episode.turns), episode.success) == ("first", 3, False)
    assert episode.failure == "forfeited by 3 illegal or malformed moves"


def test_an_unknown_opponent_is_refused() -> None:
    with pytest.raises(ArgumentError, match="player: 'orcale' is unknown; did you mean oracle"):
        rollout_games(ScriptedPolicy("random"), {}, jobs(TIC, "orcale", 1))
