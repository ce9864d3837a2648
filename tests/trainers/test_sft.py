"""Priming: what is scored, in what order, and gradients that do not depend on how a batch is split."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.episode import TrainingSequence
from ludus.agents.models import LoadedModel
from ludus.agents.picture_ids import id_of
from ludus.trainers.algorithms.sft import (
    batch_indices,
    demonstrate,
    mean_loss,
    team_gradients,
    with_observations,
)
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.mixture import mixture_of
from ludus.trainers.parallel.team import Team
from ludus.trainers.tasks import Task


@pytest.fixture
def several(tiny: RunConfig) -> RunConfig:
    environment = {"id": "ludus/ArithmeticChallenge-v0", "arguments": {"digits": 1}}
    return parse_config({**tiny.model_dump(), "environment": environment})


def demonstrations(policy: LoadedModel, config: RunConfig, count: int = 6):
    return demonstrate([Task(config.environment.spec, seed) for seed in range(count)], policy.format, config)


def test_only_what_the_oracle_said_is_scored_with_its_end(policy: LoadedModel, tiny: RunConfig) -> None:
    rows = demonstrations(policy, tiny)
    assert len(rows) == 6
    for row in rows:
        said = [id for id, sampled in zip(row.ids, row.sampled, strict=True) if sampled]
        text = policy.format.parse(said)["content"]
        assert text.startswith("<think>")
        assert text.endswith("</answer>")
        assert said[-1] in policy.format.stop_ids
        assert said.count(said[-1]) == 1
        assert row.sampled == tuple(sorted(row.sampled))  # one turn: prompt first, completion after


def test_several_turns_append(policy: LoadedModel, several: RunConfig) -> None:
    ends, turns = set(policy.format.stop_ids), []
    for row in demonstrations(policy, several, 4):
        scored_ends = sum(s for id, s in zip(row.ids, row.sampled, strict=True) if id in ends)
        turns.append(sum(b and not a for a, b in zip((False, *row.sampled), row.sampled, strict=False)))
        assert turns[-1] == scored_ends  # every turn's own end, once
    assert max(turns) > 1


def test_the_loss_is_that_of_a_plain_forward_pass(policy: LoadedModel, tiny: RunConfig) -> None:
    rows = demonstrations(policy, tiny)
    losses = []
    for row in rows:
        ids = torch.tensor(row.ids)
        with torch.no_grad():
            logprobs = policy.model(ids[None]).logits[0, :-1].log_softmax(-1)
        scored = torch.tensor(row.sampled)[1:]
        losses.append(-logprobs.gather(1, ids[1:, None])[scored, 0])
    expected = torch.cat(losses).mean().item()
    assert mean_loss(policy, rows, 8192) == pytest.approx(expected, abs=1e-5)
    with Team(tiny) as team, team.computing_with(policy):
        assert team_gradients(team, rows, 8192)[0].replies == pytest.approx(expected, abs=1e-5)


def test_what_the_environment_says_counts_by_its_weight(policy: LoadedModel, several: RunConfig) -> None:
    rows = demonstrations(policy, several, 4)
    replies, observations = [], []
    for row in rows:
        ids = torch.tensor(row.ids)
        logprobs = policy.model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        first = row.sampled.index(True)
        for place in range(first, len(row.ids)):  # what came before the first reply answers nothing
            (replies if row.sampled[place] else observations).append(-logprobs[place - 1])
    expected = torch.stack(replies).mean(), torch.stack(observations).mean()
    policy.model.zero_grad()
    (expected[0] + 0.25 * expected[1]).backward()
    gradients = [parameter.grad.clone() for parameter in policy.model.parameters()]
    policy.model.zero_grad()
    with Team(several) as team, team.computing_with(policy):
        losses, _ = team_gradients(team, rows, 8192, 0.25)
    assert losses == pytest.approx([loss.item() for loss in expected], abs=1e-5)
    for parameter, gradient in zip(policy.model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)


def test_pictures_are_never_predicted() -> None:
    picture = id_of(key=7, place=0)
    row = TrainingSequence(
        (1, 2, 3, 4, picture, 5, 6), (False, False, True, True, False, False, True), (0.0,) * 7
    )
    assert with_observations(row).sampled == (False, False, True, True, False, True, True)


def test_of_data_only_replies_are_trained_on(tiny: RunConfig) -> None:
    sft = {**tiny.sft.model_dump(), "data": ["a.jsonl"], "observations_weight": 1.0}
    with pytest.raises(ConfigError, match=r"observations_weight = 1\.0 is for demonstrations: .*drop one"):
        parse_config({**tiny.model_dump(), "sft": sft})


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_gradients_do_not_depend_on_the_cut(policy: LoadedModel, several: RunConfig, weight: float) -> None:
    rows = demonstrations(policy, several)
    gradients = []
    for budget in (8192, 1):  # all at once; one row at a time
        policy.model.zero_grad()
        with Team(several) as team, team.computing_with(policy):
            team_gradients(team, rows, budget, weight)
        gradients.append([parameter.grad.clone() for parameter in policy.model.parameters()])
    for at_once, by_row in zip(*gradients, strict=True):
        torch.testing.assert_close(at_once, by_row, atol=1e-6, rtol=1e-4)


@given(st.integers(0, 5), st.integers(1, 9), st.integers(1, 7))
def test_every_pass_sees_every_demonstration_once(seed: int, size: int, count: int) -> None:
    drawn = [index for step in range(3 * count) for index in batch_indices(seed, step, size, count)]
    for epoch in range(len(drawn) // count):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_environments_that_cannot_be_primed_on_are_refused(tiny: RunConfig) -> None:
    def configured(id: str, **arguments: object) -> RunConfig:
        return parse_config({**tiny.model_dump(), "environment": {"id": id, "arguments": arguments}})

    with pytest.raises(ConfigError, match="does not observe messages"):
        mixture_of(configured("ludus/PacMan-v0"))
    with pytest.raises(ConfigError, match=r"cannot be made as configured: .*colour"):
        mixture_of(configured("ludus/Arithmetic-v0", colour="red"))
