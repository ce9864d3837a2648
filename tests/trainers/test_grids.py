"""Pictures whose tokens lie in grids (Qwen2.5-VL, Qwen3-VL): tokens, positions, engine and training are the
model's own plain forward."""

import asyncio
import json
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ludus  # noqa: F401
from ludus.agents.engines import cores
from ludus.agents.engines.base import EngineError, Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.engines.steps import Batch
from ludus.agents.episode import Episode, TrainingSequence
from ludus.agents.models import LoadedModel, load_model
from ludus.agents.picture_ids import FIRST, key_and_place, key_of, with_picture
from ludus.agents.policy import EnginePolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.sight import Seen, SightError, reader_of, rotary_positions
from ludus.agents.store import read_episodes, write_episodes
from ludus.envs.chat import assistant, system, text_part, user
from ludus.envs.picture import picture_part
from ludus.trainers.batches.packing import flat_logprobs, pack
from ludus.trainers.config.reading import parse_config
from ludus.trainers.models import forward
from ludus.trainers.models.activations import keep_activations
from ludus.trainers.models.attention import UnsupportedModel
from ludus.trainers.models.forward import packs, score
from ludus.trainers.run.job import train

from ..rounding import unit_roundoff
from .qwen import FAMILIES, HEAD, KEY_HEADS, LAYERS, PAD, SQUARE, UNSAID, build

PACMAN = EnvironmentSpec("ludus/PacManVision-v0", {"max_turns": 3, "pixels": 12})
ROUNDINGS = 16 * (LAYERS + 2)
"""On the way of a number through two layers of the tower and those of the language model: norms, products,
rotation, attention, gate and residual sums."""


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models"), request.param)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_model(folder)


@pytest.fixture(scope="module")
def episodes(loaded: LoadedModel) -> list[Episode]:
    """Two games, each played twice, all together."""
    engine = EmbeddedEngine(loaded.model, words=len(loaded.tokenizer) - UNSAID)
    policy = EnginePolicy(engine, loaded.format, Sampling(max_tokens=5))
    starts = [EpisodeStart(seed, group=seed, sample=sample) for seed in (1, 2) for sample in (0, 1)]
    return rollout(policy, PACMAN, starts)


def picture(colour: int, rows: int, columns: int) -> Any:
    """As large as so many tokens."""
    pixels = np.random.default_rng(colour).integers(0, 256, (rows * SQUARE, columns * SQUARE, 3))
    return picture_part(pixels.astype(np.uint8))


def shown(ids: Sequence[int]) -> list[int]:
    """The keys of the pictures among the ids, in order."""
    return [key for key, place in map(key_and_place, (id for id in ids if id >= FIRST)) if place == 0]


def plain_logits(loaded: LoadedModel, ids: Sequence[int], pictures: Sequence[str]) -> Tensor:
    """The model's own forward of a row, with the pixels of its pictures."""
    reader = reader_of(loaded.model)
    assert reader is not None
    urls = {key_of(url): url for url in pictures}
    pixels = [reader.pixels(urls[key]) for key in shown(ids)]
    joined: dict[str, Any] = {name: torch.cat([one[name] for one in pixels]) for name in pixels[0]}
    plain = torch.tensor([[reader.placeholder if id >= FIRST else id for id in ids]])
    is_picture = torch.tensor([[int(id >= FIRST) for id in ids]])
    logits: Tensor = loaded.model(
        input_ids=plain, mm_token_type_ids=is_picture, use_cache=False, **joined
    ).logits[0]
    return logits


def plain_logprobs(loaded: LoadedModel, row: TrainingSequence, unsaid: int = 0) -> Tensor:
    """Of the sampled tokens, among all ids but so many at the end."""
    logits = plain_logits(loaded, row.ids, row.pictures)
    logits = logits[:, : logits.shape[-1] - unsaid].log_softmax(-1)
    places = [place for place, sampled in enumerate(row.sampled) if sampled]
    return logits[[place - 1 for place in places], [row.ids[place] for place in places]]


def rounding(logits: Tensor) -> float:
    """8 √n u σ: what n roundings make at worst of logits whose standard deviation is σ (docs/models.md)."""
    return 8 * sqrt(ROUNDINGS) * unit_roundoff() * float(logits.detach().std(-1).square().mean().sqrt())


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)), max_size=4), st.data())
def test_positions_are_the_models_own(loaded: Any, shapes: list[tuple[int, int, int]], data: Any) -> None:
    """Text of so many tokens before each picture of so many rows and columns; and of any beginning of it."""
    ids, features = [5], {}
    for number, (before, rows, columns) in enumerate(shapes):
        ids += [5] * before
        ids += with_picture([9] * (rows * columns), 9, number)
        features[number] = Seen(torch.empty(rows * columns, 0), grid=(rows, columns))
    ids += [5, 5]
    found = rotary_positions(ids, features)
    grids = torch.tensor([(1, 2 * rows, 2 * columns) for _, rows, columns in shapes]).reshape(-1, 3)
    is_picture = torch.tensor([[int(id >= FIRST) for id in ids]])
    expected, _ = loaded.model.model.get_rope_index(torch.tensor([ids]), is_picture, grids)
    assert found.tolist() == expected[:, 0].tolist()
    end = data.draw(st.integers(1, len(ids)))
    assert rotary_positions(ids[:end], features).tolist() == found[:, :end].tolist()


def test_a_prompt_has_the_tokens_of_the_grids(loaded: LoadedModel) -> None:
    wide, tall, large = picture(1, 2, 4), picture(2, 3, 1), picture(3, 9, 9)
    first = [system(f"You see {PAD}."), user([wide, text_part("and"), tall])]
    prompt = loaded.format.first_prompt(first)
    reader = reader_of(loaded.model)
    assert reader is not None
    assert [reader.grid(url) for url in prompt.pictures] == [(2, 4), (3, 1)]
    assert sum(id >= FIRST for id in prompt.ids) == 8 + 3
    assert reader.placeholder not in prompt.ids  # what the text spells shows nothing
    reply, added = assistant("I see"), [user([large])]
    context = (*prompt.ids, *loaded.format.demonstrate(reply))
    later = loaded.format.next_prompt([*first, reply], context, added)
    assert not later.fork
    assert (*context, *later.ids) == loaded.format.first_prompt([*first, reply, *added]).ids
    assert sum(id >= FIRST for id in later.ids) == 16  # scaled to what the processor allows
    with pytest.raises(SightError, match=r"cannot be read.*ratio"):
        loaded.format.first_prompt([user([picture(4, 1, 201)])])


def test_the_engine_samples_from_the_plain_forward(loaded: LoadedModel, episodes: list[Episode]) -> None:
    for episode in episodes:
        (row,) = episode.training_sequences()
        assert len(episode.turns) == len(shown(row.ids)) == 3
        off = (plain_logprobs(loaded, row, UNSAID) - flat_logprobs([row])).abs().max()
        assert off <= rounding(plain_logits(loaded, row.ids, row.pictures))


def test_a_group_shares_its_pictures(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two conversations begin alike, and go on with pictures of other shapes; a third is another picture."""
    model, seen, computed = loaded.model, list[int](), list[int]()
    begins = [user([picture(colour, 2, 4), text_part("?")]) for colour in (1, 1, 2)]
    prompts = [loaded.format.first_prompt([begin]) for begin in begins]
    engine = EmbeddedEngine(model, words=len(loaded.tokenizer) - UNSAID)
    batch: Any = engine._batch
    own = model.get_image_features  # type: ignore[operator]

    def counted(**named: Any) -> Any:
        seen.append(len(named["image_grid_thw"]))
        return own(**named)

    monkeypatch.setattr(model, "get_image_features", counted)
    hook = model.model.language_model.register_forward_pre_hook(  # type: ignore[union-attr,operator]
        lambda _, __, named: computed.append(named["inputs_embeds"].shape[1]), with_kwargs=True
    )

    async def play(number: int) -> TrainingSequence:
        ids, sampled, logprobs = [*prompts[number].ids], [False] * len(prompts[number].ids), []
        pictures = [*prompts[number].pictures]
        logprobs = [0.0] * len(ids)
        with engine.session() as session:
            for turn in range(2):
                done = await session.generate(ids, Sampling(4), 7 * number + turn, pictures)
                added = loaded.format.first_prompt([user([picture(9 + turn, 3, 1 + number)])])
                ids += [*done.ids, *added.ids]
                sampled += [True] * len(done.ids) + [False] * len(added.ids)
                logprobs += [*done.logprobs, *[0.0] * len(added.ids)]
                pictures += added.pictures
        return TrainingSequence(tuple(ids), tuple(sampled), tuple(logprobs), pictures=tuple(pictures))

    async def together() -> list[TrainingSequence]:
        return await asyncio.gather(*(play(number) for number in range(3)))

    try:
        rows = asyncio.run(together())
    finally:
        hook.remove()
        monkeypatch.undo()
    # Each picture went through the tower once, the first prompt that two share through the model once.
    assert sum(seen) == 2 + 3
    shared = len(prompts[0].ids)
    assert computed[0] == 2 * shared
    assert batch.rows == []
    for row in rows:
        off = (plain_logprobs(loaded, row, UNSAID) - flat_logprobs([row])).abs().max()
        assert off <= rounding(plain_logits(loaded, row.ids, row.pictures))
    engine.close()


def test_the_store_has_a_key_and_a_value_for_every_token(loaded: LoadedModel) -> None:
    prompt = loaded.format.first_prompt([user([picture(1, 4, 4), text_part("?")])])
    engine = EmbeddedEngine(loaded.model, words=len(loaded.tokenizer) - UNSAID)
    batch = engine._batch
    assert isinstance(batch, Batch)

    async def sample() -> None:
        with engine.session() as session:
            await session.generate(prompt.ids, Sampling(3), 0, prompt.pictures)
            assert batch.cached_tokens == len(prompt.ids) + 2
            layers = batch._store._layers.values()
            size = sum(part.nbytes for pair in layers for part in pair)
            assert size == 128 * LAYERS * 2 * KEY_HEADS * HEAD * 4

    asyncio.run(sample())
    engine.close()


def test_training_is_the_plain_forward_and_its_gradients(
    loaded: LoadedModel, episodes: list[Episode], tmp_path: Path
) -> None:
    """From episodes that were written to a file and read again, packed so that they share what they share,
    alone, and with layers that are computed again."""
    stored = read_episodes(write_episodes(tmp_path / "episodes.parquet", episodes))
    assert stored == episodes
    rows = [row for episode in stored for row in episode.training_sequences()]
    assert packs(loaded.model)
    (whole,) = pack(rows, 10**6)
    assert whole.tokens < sum(len(row.ids) for row in rows)
    parameters = dict(loaded.model.named_parameters())
    weights = torch.linspace(0.5, 1.5, sum(sum(row.sampled) for row in rows))

    def gradients(logprobs: Tensor) -> dict[str, Tensor]:
        loaded.model.zero_grad(set_to_none=True)
        (logprobs * weights).sum().backward()
        return {name: one.grad for name, one in parameters.items() if one.grad is not None}

    def scored(batches: Any) -> Tensor:
        found = torch.empty(len(weights))
        for batch in batches:
            found = found.index_put((batch.token_N,), score(loaded.model, batch, 1.0).logprobs)
        return found

    expected = torch.cat([plain_logprobs(loaded, row) for row in rows])
    bound = max(rounding(plain_logits(loaded, row.ids, row.pictures)) for row in rows)
    own = gradients(expected)
    assert any(name.startswith("model.visual.patch_embed") for name in own)
    assert len(own) == len(parameters)
    for batches, every in (([whole], 0), (pack(rows, 1), 0), ([whole], 1)):
        keep_activations(loaded.model, every)
        logprobs = scored(batches)
        assert (logprobs - expected).abs().max() <= bound
        found = gradients(logprobs)
        assert found.keys() == own.keys()
        for name, gradient in found.items():
            scale = float(own[name].abs().max())
            torch.testing.assert_close(gradient, own[name], rtol=0, atol=1e-4 * max(scale, 1.0))
    keep_activations(loaded.model, 0)
    # Rotated by places, as text is, they would be those of another model.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "in_grids", lambda _: False)
        assert (scored([whole]) - expected).abs().max() > 100 * bound


def test_what_is_not_computed_right_is_refused_in_one_line(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a cache of the model's own, or rows apart, which have no such positions."""

    def refuse(*_: Any) -> Any:
        raise EngineError("not right")

    def refuse_training(*_: Any) -> Any:
        raise UnsupportedModel("not right")

    monkeypatch.setattr(cores.steps, "reach", refuse)
    monkeypatch.setattr(forward, "reach_of", refuse_training)
    with pytest.raises(EngineError, match=r"^not right$"):
        cores.core_of._function(loaded.model)
    with pytest.raises(UnsupportedModel, match=r"^not right$"):
        forward.way_of._function(loaded.model)


@pytest.mark.slow
def test_two_processes_train_one(folder: Path, tmp_path: Path) -> None:
    config = parse_config(
        {
            "run": {"name": "sees", "workers": 2, "threads": 1},
            "environment": {"id": "ludus/PacManVision-v0", "arguments": {"pixels": 12, "max_turns": 2}},
            "model": {"path": str(folder), "recompute_every": 1},
            "sft": {"steps": 2, "demonstrations": 16, "heldout_demonstrations": 4, "batch_episodes": 8},
            "grpo": {"steps": 2, "groups": 2, "group_size": 4, "learning_rate": 1e-3, "kl_coefficient": 0.01},
            "rollout": {"max_tokens": 8},
            "evaluation": {"episodes": 4},
        }
    )
    train(config, tmp_path / "run")
    trained = load_model(tmp_path / "run/models/final")
    assert reader_of(trained.model) is not None
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "grpo"]
    assert len(steps) == 2
    assert max(step["mismatch_max"] for step in steps) < 1e-4
