"""Opponents while training: who is drawn, what is learned from, what is measured, what is refused."""

import itertools
import math
import os
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.games import PlayedGame
from ludus.agents.models import LoadedModel
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.tools.files import remove_folder
from ludus.trainers.advantages.role import MEMORY, baselines, role_credit
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.batches.minibatch import make_minibatches
from ludus.trainers.checks.tokens import token_readings
from ludus.trainers.config.opponents import LeagueSection, OpponentsSection
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.games import game_metrics
from ludus.trainers.metrics import read_metrics
from ludus.trainers.mixture import mixture_of
from ludus.trainers.opponents import members_at, opponent_of, refuse_unplayable, score_against
from ludus.trainers.parallel.play import play_games
from ludus.trainers.parallel.team import Team
from ludus.trainers.rating import anchor_ratings, is_due
from ludus.trainers.replay.replay import replay
from ludus.trainers.run.directory import league_folder, league_folders
from ludus.trainers.run.job import train
from ludus.trainers.run.league import League, refuse_other_vocabularies
from ludus.trainers.run.policy import load_policy
from ludus.trainers.tasks import TaskStream

from .conftest import CONFIGS, changed
from .test_run import Leaves, left, outcome

TIC = {"id": "ludus/TicTacToeChat-v0", "arguments": {"seat": "random", "opponent": "random"}}
# Both sides move at the same time, so that both have spoken where a model that knows nothing forfeits.
BOTH = {"id": "ludus/PrisonersDilemmaChat-v0", "arguments": {"seat": "random", "rounds": 2}}
GAME = "PrisonersDilemmaChat"


@pytest.fixture(scope="module")
def games(tiny: RunConfig) -> RunConfig:
    """A few steps of self-play of a tiny model, with a league of three and a checkpoint after every second
    step."""
    dump = tiny.model_dump(exclude_none=True)
    small = {"hidden": 16, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8, "intermediate": 32}
    return parse_config(
        {
            **dump,
            "environment": BOTH,
            "opponents": {
                "weights": {"self": 1, "league": 1, "random": 1},
                "league": {"every": 1, "size": 2},
                "rating": {"every": 2, "pairs": 2, "anchors": ["random", "oracle"]},
            },
            "model": {"small": small},
            "sft": {"steps": 2, "demonstrations": 8, "heldout_demonstrations": 1, "demonstrator": "random"},
            "grpo": {"steps": 4, "groups": 4, "group_size": 2, "advantage": "role", "store_every": 1},
            "rollout": {"max_tokens": 6, "max_turns": 4},
            "evaluation": {"episodes": 2, "temperature": 1.0},
            "checkpoint": {"every": 2},
        }
    )


def test_a_killed_run_plays_the_same_opponents_to_the_same_bits(games: RunConfig, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(games, whole, listener=Leaves(whole, ("grpo", 3)))
    assert outcome(train(games, left(whole, "grpo", 3), resume=True)) == outcome(whole)

    lines = [line for line in read_metrics(whole) if line["phase"] == "grpo"]
    opponents = {name.split("/")[1] for line in lines for name in line if name.startswith("opponents/")}
    assert {"self", "random"} < opponents
    assert any(name.startswith("league-") for name in opponents)
    rated = [line["step"] for line in lines if f"rating/{GAME}/elo" in line]
    assert rated == [1, 2, 4]
    assert {f"rating/{GAME}/score/{name}" for name in ("random", "oracle", "league-000000")} < lines[0].keys()
    for line in lines:
        episodes = [float(line.get(f"seats/{GAME}/{seat}/episodes", 0)) for seat in ("first", "second")]
        assert sum(episodes) in (8, 10)
    # What was logged of the last step's loss follows from its file and from what the seats earned before.
    assert all(figure.is_equal for figure in replay(whole).figures())


def test_members_that_no_checkpoint_needs_are_removed_and_one_that_is_gone_is_named(
    tiny: RunConfig, policy: LoadedModel, tmp_path: Path
) -> None:
    section = OpponentsSection.model_validate({"league": {"every": 1, "size": 3}})
    league = League(policy, section, changed(tiny, "checkpoint", every=1, keep=1), tmp_path, tmp_path)
    for step in range(8):
        members = league.at(step)
        assert list(members) == [f"league-{joined:06d}" for joined in members_at(step, section.league)]
    needed = {*members_at(6, section.league), *members_at(7, section.league)} - {0}
    assert {step for step, _ in league_folders(tmp_path)} == needed
    remove_folder(league_folder(tmp_path, members_at(7, section.league)[1]))
    with pytest.raises(RunError, match="is gone, a member of the league"):
        league.at(7)


@pytest.fixture
def small(games: RunConfig) -> Path:
    return Path(
        build_small_model(mixture_of(games).specs, SmallModelShape(**games.model.small.model_dump()), 0)
    )


@pytest.mark.slow  # starts a process
def test_workers_play_the_league_with_the_same_bits_in_order(
    games: RunConfig, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    two = changed(games, "run", workers=2)
    opponents = ["self", "league-000000", "random", "league-000000"]
    spec = mixture_of(games).specs[0]
    jobs = [(spec, EpisodeStart(seed, seed, 0, name)) for seed, name in enumerate(opponents)]

    def numbers(played: list[PlayedGame]) -> list[Any]:
        return [
            (game.opponent, game.outcome, [(turn.completion_ids, turn.logprobs) for turn in episode.turns])
            for game in played
            for episode in game.episodes
        ]

    with Team(two) as team, team.computing_with(load_policy(small, two)):
        (once, engines), (again, _) = (
            play_games(team, jobs, 1.0, {"league-000000": small}) for _ in range(2)
        )
    assert [game.opponent for game in once] == opponents
    assert len(engines) == 2
    assert engines[0].weights == engines[1].weights is not None
    assert numbers(once) == numbers(again)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sections",
    [
        {"grpo": {"advantage": "default", "credit": "gae"}, "critic": {"kind": "head"}},
        {"grpo": {"steps": 0, "advantage": "default"}, "rft": {"iterations": 1, "steps": 2, "tasks": 4}},
    ],
    ids=["gae", "rft"],
)
def test_a_value_model_and_rejection_sampling_learn_from_games(
    games: RunConfig, tmp_path: Path, sections: dict[str, Any]
) -> None:
    config = changed(games, "opponents", weights={"self": 1.0, "random": 1.0})
    config = changed(config, "rft", only_successes=False, least_reward=-10.0)
    dump = config.model_dump(exclude_none=True)
    for name, section in sections.items():
        dump[name] = {**dump.get(name, {}), **section}
    assert (train(parse_config(dump), tmp_path / "run") / "models" / "final").exists()


CREDITS: dict[str, dict[str, Any]] = {
    **{name: {"advantage": name} for name in ("grpo", "dr_grpo", "rloo", "reinforce_pp_baseline", "role")},
    "turn": {"credit": "turn"},
    "anchor": {"credit": "anchor"},
    **{f"loss {name}": {"loss": name} for name in ("dr_grpo", "dapo", "gspo", "cispo", "ppo")},
}


def test_every_algorithm_trains_on_each_seats_own_tokens_once(games: RunConfig, small: Path) -> None:
    """On the same games of a model with itself: what reaches the loss is what the seats sampled, and no group
    has episodes of both."""
    policy = load_policy(small, games)
    stream = TaskStream(mixture_of(games), 0, "grpo", {})
    jobs = [
        (task.spec, EpisodeStart(task.seed, group, sample, "self"))
        for group, task in enumerate(stream.take(2, {GAME: [1.0]}))
        for sample in range(2)
    ]
    with Team(games) as team, team.computing_with(policy):
        played, _ = play_games(team, jobs, 1.0, {})
    episodes = [episode for game in played for episode in game.episodes]
    for name, keys in CREDITS.items():
        config = changed(games, "grpo", **{"advantage": "default", "entropy_coefficient": 0.01, **keys})
        groups = make_groups(episodes, config)
        assert len(groups) == 4
        assert all(len({e.turns[0].actor for e in group.episodes}) == 1 for group in groups)
        minibatches = make_minibatches([groups], policy.model, None, config)
        readings = token_readings([groups], minibatches)
        assert {reading.value for reading in readings.values()} == {0}, name
        assert sum(len(m.weights_S) for m in minibatches) == sum(
            len(turn.completion_ids) for episode in episodes for turn in episode.turns
        )
    earned = game_metrics(played, groups)
    assert earned["opponents/self/games"] == 4.0
    returns = [earned[f"seats/{GAME}/{seat}/return"] for seat in ("first", "second")]
    assert sum(returns) == pytest.approx(sum(e.episode_return for e in episodes) / 4)


def test_role_credit_compares_with_what_the_seat_earned_before() -> None:
    history = [
        {"seats/Nim/first/return": 1.0, "seats/Nim/first/episodes": 2.0},
        {"reward": 3.0},
        {"seats/Nim/first/return": 0.5, "seats/Nim/first/episodes": 1.0, "seats/Nim/second/return": -1.0,
         "seats/Nim/second/episodes": 4.0},
    ]  # fmt: skip
    b = 1.0 - MEMORY**2
    assert baselines([]) == {}
    assert baselines(history) == {
        "Nim/first": pytest.approx(MEMORY * b + (1 - MEMORY) * 0.5),
        "Nim/second": pytest.approx(-(1 - MEMORY**4)),
    }
    (values,) = role_credit([Trajectory(0, (0.0, 1.0), (2, 1), baseline=0.25)])
    assert torch.equal(values, torch.full((3,), 0.75, dtype=torch.float64))


@settings(max_examples=30)
@given(step=st.integers(0, 200), every=st.integers(1, 20), size=st.integers(2, 9))
def test_a_league_is_bounded_and_spread_over_the_run(step: int, every: int, size: int) -> None:
    league = LeagueSection(every=every, size=size)
    members = members_at(step, league)
    assert members == sorted(set(members))
    assert len(members) <= size
    assert (members[0], members[-1]) == (0, step - step % every)
    assert set(members) <= {*members_at(max(0, step - 1), league), step}
    gaps = [after - before for before, after in itertools.pairwise(members)]
    # One who leaves has the smallest of size - 1 sums of two gaps, which together are at most twice the run.
    assert max(gaps, default=0) <= max(every, 2 * step / (size - 1))


def test_opponents_are_drawn_by_weight_and_those_that_win_most_of_all() -> None:
    section = OpponentsSection(weights={"self": 2.0, "league": 1.0, "oracle:50": 1.0})
    history = [
        {
            "opponents/a/games": 40.0,
            "opponents/a/score": 1.0,
            "opponents/b/games": 40.0,
            "opponents/b/score": 0.2,
        }
    ]
    drawn = Counter(
        opponent_of(section, 3, "grpo", step, group, ["a", "b", "c"], history)
        for step in range(100)
        for group in range(20)
    )
    assert abs(drawn["self"] - 1000) < 4 * math.sqrt(500)
    assert abs(drawn["oracle:50"] - 500) < 4 * math.sqrt(375)
    lost = {name: (1.0 - score_against(name, history)) ** 2 for name in "abc"}
    assert lost["a"] < 0.001 < lost["c"] < lost["b"]
    assert drawn["b"] / 500 == pytest.approx(lost["b"] / sum(lost.values()), abs=0.1)
    assert score_against("a", [*history, *[{}] * 50]) == pytest.approx(0.5, abs=0.15)


def test_ratings_of_anchors_are_in_order_and_measured_when_due() -> None:
    ratings = anchor_ratings(EnvironmentSpec(**TIC), ["random", "oracle:50", "oracle"])
    assert ratings["random"] == 0.0
    assert 50 < ratings["oracle:50"] < ratings["oracle"]
    section = OpponentsSection.model_validate({"rating": {"every": 3}})
    assert [step for step in range(8) if is_due(step, section, 8)] == [0, 2, 5, 7]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"opponents": {"weights": {"self": 0.0}}}, "opponents.weights.self = 0.0: input should be greater"),
        ({"opponents": {"weights": {}}}, "opponents.weights"),
        ({"opponents": {"league": {"size": 1}}}, "opponents.league.size = 1: input should be greater"),
        ({"grpo": {"advantage": "reinforce_pp"}}, 'take "role" or "reinforce_pp_baseline"'),
        ({"grpo": {"advantage": "role", "credit": "anchor"}}, 'advantage = "role" compares with a running'),
        ({"grpo": {"advantage": "role", "dynamic_sampling": True}}, "with what the seat earned before"),
        ({"opponents": None, "grpo": {"advantage": "role"}}, "without [opponents] there are no seats"),
        (
            {"rft": {"iterations": 1}, "opponents": {"weights": {"league": 1}}},
            "the league grows with the steps",
        ),
        ({"engine": {"kind": "vllm"}}, "engines of their own in this process"),
        ({"grpo": {"steps": 0}}, "rft.iterations and grpo.steps are 0"),
        ({"environment": {**TIC, "curriculum": {}}}, "makes an environment's own opponent stronger"),
    ],
)
def test_what_does_not_go_together_is_refused(sections: dict[str, Any], told: str) -> None:
    values = {"environment": TIC, "opponents": {}, **sections}
    with pytest.raises(ConfigError) as refused:
        parse_config({name: section for name, section in values.items() if section is not None})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "opponents", "told"),
    [
        ({"id": "ludus/Arithmetic-v0"}, {}, "ludus/Arithmetic-v0 is none: take a game in words"),
        (TIC, {"weights": {"orcale": 1}}, "'orcale' is unknown; did you mean oracle?"),
        (TIC, {"rating": {"anchors": ["minimax:0"]}}, "1 to 20, as in minimax:3"),
        ({"id": TIC["id"]}, {}, 'seat = "first" in the arguments of ludus/TicTacToeChat-v0 is one of them'),
    ],
)
def test_who_cannot_play_is_refused(
    environment: dict[str, Any], opponents: dict[str, Any], told: str
) -> None:
    config = parse_config({"environment": environment, "opponents": opponents})
    assert config.opponents is not None
    with pytest.raises(ConfigError) as refused:
        refuse_unplayable(mixture_of(config), config.opponents)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_league_of_other_models_is_checked(
    games: RunConfig, tmp_path: Path, policy: LoadedModel, tiny_folder: Path, small: Path
) -> None:
    """`policy` has learned its tokens from sums, not from a game."""
    league = tmp_path / "league"
    section = OpponentsSection.model_validate({"league": {"folder": str(league)}})
    with pytest.raises(ConfigError, match="has no models, there is no such folder"):
        refuse_unplayable(mixture_of(games), section)
    league.mkdir()
    with pytest.raises(ConfigError, match="has no models, none of its subfolders is one"):
        refuse_unplayable(mixture_of(games), section)
    (league / "sums").symlink_to(tiny_folder)
    refuse_unplayable(mixture_of(games), section)
    refuse_other_vocabularies(policy, section)
    (league / "sums").unlink()
    (league / "other").symlink_to(small)
    with pytest.raises(ConfigError, match="other has another vocabulary than the policy"):
        refuse_other_vocabularies(policy, section)


def test_the_configuration_of_self_play_is_valid() -> None:
    config = load_config(CONFIGS / "selfplay.toml")
    assert config.opponents is not None
    refuse_unplayable(mixture_of(config), config.opponents)
    assert parse_config(tomllib.loads(config.to_toml())) == config
