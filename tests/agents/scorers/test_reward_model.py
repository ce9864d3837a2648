"""Reward models as scorers: what they score, and what they cannot."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.models import load_model
from ludus.agents.reward_model import (
    SEPARATOR,
    RewardModel,
    batches,
    conversation_ids,
    episode_steps,
    load_reward_model,
    step_ends,
)
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.scorers.base import Cached, Score, ScoreFault
from ludus.agents.scorers.reward_model import RewardModelScorer
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.envs.chat import assistant, user

SHAPE = SmallModelShape(
    hidden=16, layers=2, heads=2, kv_heads=1, head_dim=8, intermediate=32, max_positions=256
)
REPLIES = ("1+2=3\n3+4=7\n7", "8", "")


@pytest.fixture(scope="session")
def folder() -> Path:
    return build_small_model([EnvironmentSpec("ludus/Arithmetic-v0")], SHAPE)


@pytest.fixture
def make_model(folder: Path) -> Callable[[str | None], RewardModel]:
    """A reward model with random weights; of steps that a separator ends, if it has one."""

    def make(separator: str | None) -> RewardModel:
        loaded = load_model(folder, head="reward")
        torch.manual_seed(0)
        torch.nn.init.normal_(loaded.model.score.weight)
        if separator is not None:
            setattr(loaded.model.config, SEPARATOR, separator)
        return RewardModel(loaded)

    return make


def played(model: RewardModel, *replies: str) -> Episode:
    chat_format = model.loaded.format
    turns = []
    for number, text in enumerate(replies):
        heard, reply = [user(f"{number} + 1 = ?")], assistant(text)
        prompt = chat_format.first_prompt(heard).ids
        ids = chat_format.demonstrate(reply)
        turns.append(Turn(heard, reply, 0.0, {}, prompt, ids, (-1.0,) * len(ids), "stop"))
    return Episode("ludus/Arithmetic-v0", {}, 0, "task", tuple(turns), StopReason.TERMINATED)


def scored(scorer: RewardModelScorer | Cached, *episodes: Episode) -> list[Score | ScoreFault]:
    return asyncio.run(scorer.score(episodes))


def test_an_outcome_is_the_reward_of_what_was_said_however_it_was_sampled(
    make_model: Callable[[str | None], RewardModel],
) -> None:
    model = make_model(None)
    long, short = played(model, *REPLIES[:2]), played(model, "8")
    spoken = replace(short, turns=tuple(replace(t, prompt_ids=(), completion_ids=()) for t in short.turns))
    scores = scored(RewardModelScorer(model), long, short, spoken)
    assert scores[1] == scores[2]
    for episode, score in zip((long, short), scores[:2], strict=True):
        (reward,) = model.rewards([conversation_ids(episode.turns, model.loaded.format)])
        assert isinstance(score, Score)
        assert score.value == pytest.approx(reward, rel=1e-5)
    assert scores[0] != scores[1]


def test_what_steps_add_is_what_the_process_model_expects_at_the_end(
    make_model: Callable[[str | None], RewardModel],
) -> None:
    model = make_model("\n")
    episode = played(model, *REPLIES)
    (values,) = model.step_values([episode])
    assert [(step.turn, step.end) for step in values] == [(0, 6), (0, 12), (0, 13), (1, 1), (2, 0)]
    (row,) = episode_steps(episode, model.loaded.format, "\n")
    for step, place in zip(values, row.places, strict=True):
        (reward,) = model.rewards([row.ids[: place + 1]])
        assert step.value == pytest.approx(1 / (1 + math.exp(-reward)), rel=1e-5)
    (score,) = scored(RewardModelScorer(model), episode)
    assert isinstance(score, Score)
    assert score.value == values[-1].value
    assert [(step.turn, step.end) for step in score.steps] == [(0, 6), (0, 12), (0, 13), (1, 1)]
    assert sum(step.value for step in score.steps) == pytest.approx(values[-2].value)


def test_ids_of_another_tokenizer_are_not_read(make_model: Callable[[str | None], RewardModel]) -> None:
    model = make_model("\n")
    own = played(model, *REPLIES)
    other = replace(
        own,
        turns=tuple(
            replace(turn, prompt_ids=tuple(id + 1 for id in turn.prompt_ids), completion_ids=(5, 6, 7))
            for turn in own.turns
        ),
    )
    first, second = scored(RewardModelScorer(model), own, other)
    assert first == second


def test_what_cannot_be_scored_is_a_fault_and_the_others_are_scored(
    make_model: Callable[[str | None], RewardModel],
) -> None:
    model = make_model("\n")
    fine, long = played(model, "8"), played(model, "8" * 400)
    said = replace(fine.turns[0], prompt_ids=(), completion_ids=(), logprobs=())
    shown = replace(fine, turns=(said,))
    calling = {**said.reply, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    unreadable = replace(fine, turns=(replace(said, reply=calling),))
    too_long, unread, rendered, score = scored(RewardModelScorer(model), long, unreadable, shown, fine)
    assert isinstance(too_long, ScoreFault)
    assert "and the reward model reads 256" in too_long.why
    assert isinstance(unread, ScoreFault)
    assert "the reward model cannot read the conversation: this small model was made for" in unread.why
    assert isinstance(score, Score)
    assert rendered == score
    with torch.no_grad():
        model.loaded.model.score.weight.fill_(math.nan)
    assert scored(RewardModelScorer(model), fine) == [ScoreFault("the reward model gave nan")]


def test_equal_content_is_computed_once(make_model: Callable[[str | None], RewardModel]) -> None:
    cached = Cached(RewardModelScorer(make_model(None)))
    episode = played(make_model(None), "8")
    one, other = scored(cached, episode, replace(episode, sample=1))
    assert one == other
    assert (cached.remembered.asked, cached.remembered.known) == (1, 1)


@pytest.mark.parametrize(
    ("text", "separator", "ends"),
    [
        ("a\nb\n\nc", "\n", [2, 4, 6]),
        ("a\nb\n", "\n", [2, 4]),
        ("\n a", "\n", [3]),
        ("a b", "", [3]),
        ("", "\n", [0]),
        ("a;;b", ";;", [3, 4]),
    ],
)
def test_steps_end_behind_separators_and_at_the_end(text: str, separator: str, ends: list[int]) -> None:
    assert step_ends(text, separator) == ends


def test_batches_hold_rows_of_similar_lengths() -> None:
    lengths = [5, 1, 9, 2, 2, 30]
    parts = list(batches(lengths, 10))
    assert sorted(index for part in parts for index in part) == [*range(6)]
    assert all(len(part) * max(lengths[i] for i in part) <= 10 or len(part) == 1 for part in parts)
    assert [[lengths[i] for i in part] for part in parts] == [[1, 2, 2], [5], [9], [30]]


def test_a_language_model_is_no_reward_model(folder: Path) -> None:
    with pytest.raises(Exception, match="is a language model, which gives no rewards yet"):
        load_reward_model(folder)
