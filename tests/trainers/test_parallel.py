"""Workers: the same bits every time, gradients as of one process, errors of other processes told here."""

import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode
from ludus.agents.models import LoadedModel
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart
from ludus.tools.errors import UserError
from ludus.trainers.algorithms.grpo import team_gradients as grpo_gradients
from ludus.trainers.algorithms.sft import team_gradients
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.batches.minibatch import make_minibatches
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.parallel.member import Member
from ludus.trainers.parallel.memory import Layout, nameless_file
from ludus.trainers.parallel.play import play, split_groups
from ludus.trainers.parallel.team import Team, deal
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import load_policy

from .conftest import changed
from .test_forward import make_rows
from .test_resuming import variant
from .test_run import Killed, StopAt, outcome


@pytest.fixture(scope="module", autouse=True)
def _two_cores() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        yield


@pytest.fixture(scope="module")
def two(tiny: RunConfig) -> RunConfig:
    return changed(variant(tiny, {}), "run", workers=2)


@pytest.fixture(scope="module")
def team(two: RunConfig) -> Iterator[Team]:
    """Two processes, which compute with another model in each test."""
    with Team(two) as team:
        yield team


@pytest.mark.slow
def test_two_workers_end_in_the_same_bits_killed_or_not(two: RunConfig, tmp_path: Path) -> None:
    whole = train(two, tmp_path / "whole")
    again = train(two, tmp_path / "again")
    assert outcome(again) == outcome(whole)
    with pytest.raises(Killed):
        train(two, tmp_path / "killed", listener=StopAt("grpo", 5))
    train(two, tmp_path / "killed", resume=True)
    assert outcome(tmp_path / "killed") == outcome(whole)


def test_gradients_are_those_of_one_process(two: RunConfig, team: Team, policy: LoadedModel) -> None:
    policy.model.double()
    rows = make_rows()
    gradients = []
    for members in (Team(changed(two, "run", workers=1)), team):
        with members.computing_with(policy):
            team_gradients(members, rows, 20)
        gradients.append([parameter.grad.clone() for parameter in policy.model.parameters()])
        policy.model.zero_grad()
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_step_without_a_gradient_is_no_error(
    two: RunConfig, team: Team, policy: LoadedModel, episode: Callable[..., Episode]
) -> None:
    config = changed(two, "grpo", updates_per_batch=1, kl_coefficient=0.0)
    groups = make_groups([episode(1.0), episode(1.0)], config)
    (minibatch,) = make_minibatches([groups], policy.model, None, config)
    with team.computing_with(policy):
        assert grpo_gradients(team, minibatch, config).ratios.tokens == 0
        assert team.map(process_id, []) == []


def test_an_update_is_there_for_all(team: Team, policy: LoadedModel) -> None:
    with team.computing_with(policy):
        before = team.map(first_weight, [None, None])
        with torch.no_grad():
            next(policy.model.parameters()).add_(1.0)
        assert team.map(first_weight, [None, None]) == [before[0] + 1.0] * 2


def first_weight(member: Member, part: None) -> float:
    return next(member.policy.model.parameters()).flatten()[0].item()


def test_episodes_come_in_order_and_are_all_told_of(two: RunConfig, team: Team, policy: LoadedModel) -> None:
    (section,) = two.played
    jobs = [(section.spec, EpisodeStart(n // 3, group=n // 3, sample=n % 3)) for n in range(15)]
    told: list[int] = []
    with team.computing_with(policy):
        episodes = play(team, jobs, 1.0, lambda episode: told.append(episode.seed)).episodes
    assert [(episode.group, episode.sample) for episode in episodes] == [(n // 3, n % 3) for n in range(15)]
    assert sorted(told) == [n // 3 for n in range(15)]


def break_down(member: Member, part: str) -> str:
    if part == "user error":
        raise UserError("the fridge is open; close it")
    if part == "lambda":
        error = ValueError("no way to send this")
        error.args = (lambda: None,)
        raise error
    if part == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return part


@pytest.mark.parametrize(
    ("part", "kind", "told"),
    [
        ("user error", UserError, "the fridge is open; close it"),
        pytest.param("lambda", RuntimeError, "ValueError: <function", marks=pytest.mark.slow),
        pytest.param(
            "kill",
            RunError,
            r"worker 1 of 2 was killed by signal 9; likely .* memory; continue with --resume",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_breaks_in_another_process_is_told_here_and_leaves_none_behind(
    two: RunConfig, policy: LoadedModel, part: str, kind: type[Exception], told: str
) -> None:
    with Team(two) as team, team.computing_with(policy):
        (_, process) = team.map(process_id, [None, None])
        with pytest.raises(kind, match=told):
            team.map(break_down, ["fine", part])
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_model_that_is_done_with_takes_no_memory(two: RunConfig, team: Team, tiny_folder: Path) -> None:
    """That of the next phase is loaded then: both at once would be the peak of a run."""
    policy = load_policy(tiny_folder, two)
    before = weakref.ref(policy.model)
    with team.computing_with(policy):
        (_, (process, mapped)) = team.map(process_and_mappings, [None, None])
    assert mapped
    del policy
    assert before() is None
    assert not mappings(process)


def process_and_mappings(member: Member, part: None) -> tuple[int, int]:
    return os.getpid(), mappings(os.getpid())


def mappings(process: int) -> int:
    """How many files in memory that are shared a process has mapped."""
    return Path(f"/proc/{process}/maps").read_text().count("/memfd:ludus")


def process_id(member: Member, part: None) -> int:
    return os.getpid()


def test_more_workers_than_cores_are_refused(two: RunConfig) -> None:
    many = changed(two, "run", workers=2, threads=2)
    with pytest.raises(ConfigError, match=r"workers = 2 with run.threads = 2 keep 4 cores .* may use 2"):
        Team(many)


def test_workers_without_linux_are_refused(two: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match=r"run\.workers = 2: .* need Linux; drop run\.workers"):
        Team(two)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"grpo": {"credit": "gae", "loss": "ppo"}, "critic": {}}, "with a value model, drop run.workers"),
        ({"model": {"device": "cuda"}}, "with model.device = cuda, drop run.workers"),
    ],
)
def test_what_workers_cannot_do_is_refused(sections: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_config({"environment": {"id": "ludus/Arithmetic-v0"}, "run": {"workers": 2}, **sections})


@given(sizes=st.lists(st.integers(0, 50), max_size=12), members=st.integers(1, 4))
@settings(max_examples=200)
def test_everything_is_dealt_out_once_and_evenly(sizes: Sequence[int], members: int) -> None:
    hands = deal(sizes, members)
    assert sorted(item for hand in hands for item in hand) == list(range(len(sizes)))
    loads = [sum(sizes[item] for item in hand) for hand in hands] + [0] * (members - len(hands))
    assert max(loads) - min(loads) <= max(sizes, default=0)


@given(groups=st.lists(st.integers(1, 9), min_size=1, max_size=12), parts=st.integers(1, 4))
@settings(max_examples=200)
def test_groups_stay_whole_and_in_order(groups: Sequence[int], parts: int) -> None:
    spec = EnvironmentSpec("ludus/Arithmetic-v0")
    jobs: list[Any] = [
        (spec, EpisodeStart(0, group=group, sample=n))
        for group, size in enumerate(groups)
        for n in range(size)
    ]
    split = split_groups(jobs, parts)
    assert [job for part in split for job in part] == jobs
    assert 1 <= len(split) <= parts
    seen = [{job[1].group for job in part} for part in split]
    assert sum(map(len, seen)) == len(groups)
    assert max(map(len, split)) <= len(jobs) / parts + max(groups)


def test_tensors_of_any_shape_and_type_are_shared() -> None:
    tensors = [torch.randn(3, 5), torch.tensor(2.5, dtype=torch.float64), torch.ones(7, dtype=torch.bfloat16)]
    with nameless_file() as file:
        here, there = (Layout.of(tensors).map(file) for _ in range(2))
    assert not file.exists()
    assert all((tensor == 0).all() for tensor in here)
    for mine, value in zip(here, tensors, strict=True):
        mine.copy_(value)
    for theirs, value in zip(there, tensors, strict=True):
        assert torch.equal(theirs, value)
        assert theirs.data_ptr() % 64 == 0
