"""A model that sees: its tokens, the engine and the trainer are the model's own plain forward."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, Idefics3Processor

import ludus  # noqa: F401
from ludus.agents.engines.base import EngineError, Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.episode import Episode
from ludus.agents.models import LoadedModel, ModelLoadError, load_format, load_model
from ludus.agents.picture_ids import FIRST, key_and_place, key_of, with_picture
from ludus.agents.policy import EnginePolicy, ScriptedPolicy
from ludus.agents.rendering import render
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.sight import SightError, features_of, let_see, reader_of
from ludus.agents.small_vision import IMAGE, SmallVisionShape, build_small_vision_model
from ludus.agents.store import read_episodes, write_episodes
from ludus.envs.chat import assistant, image_part, system, text_part, user
from ludus.envs.picture import from_url, picture_part
from ludus.tools.checksums import FOLDER_FILE
from ludus.trainers.batches.packing import pack
from ludus.trainers.config.reading import parse_config
from ludus.trainers.data.token_rows import TokenRows
from ludus.trainers.models.forward import packs, score
from ludus.trainers.parallel.member import pickled
from ludus.trainers.run.job import train

TINY = SmallVisionShape(hidden=16, layers=2, vision_layers=1, heads=2, image=32, patch=8)
PACMAN = EnvironmentSpec("ludus/PacManVision-v0", {"max_turns": 3, "pixels": 12})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_vision_model(tmp_path_factory.mktemp("models") / "vision", [], TINY)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_model(folder)


@pytest.fixture(scope="module")
def episodes(loaded: LoadedModel) -> list[Episode]:
    """Two games, each played twice, all together."""
    engine = EmbeddedEngine(loaded.model, words=len(loaded.tokenizer))
    policy = EnginePolicy(engine, loaded.format, Sampling(max_tokens=5))
    starts = [EpisodeStart(seed, group=seed, sample=sample) for seed in (1, 2) for sample in (0, 1)]
    return rollout(policy, PACMAN, starts)


def picture(colour: int, side: int = 20) -> Any:
    return picture_part(np.full((side, side, 3), colour, np.uint8))


def shown(ids: Sequence[int]) -> list[int]:
    """The keys of the pictures among the ids, in order."""
    return [key for key, place in map(key_and_place, (id for id in ids if id >= FIRST)) if place == 0]


def plain_logits(loaded: LoadedModel, ids: Sequence[int], pictures: Sequence[str]) -> Tensor:
    """The model's own forward of a row, with the pixels of its pictures."""
    reader = reader_of(loaded.model)
    assert reader is not None
    urls = {key_of(url): url for url in pictures}
    pixels = [reader.pixels(urls[key]) for key in shown(ids)]
    joined = {name: torch.cat([one[name] for one in pixels], dim=1) for name in pixels[0]}
    plain = [reader.placeholder if id >= FIRST else id for id in ids]
    logits: Tensor = loaded.model(input_ids=torch.tensor([plain]), use_cache=False, **joined).logits[0]
    return logits


def test_ids_tell_pictures_and_their_tokens_apart() -> None:
    one, other = (with_picture((5, 9, 9, 6), 9, key_of(url)) for url in ("data:a", "data:b"))
    assert one[::3] == other[::3] == (5, 6)
    assert len({*one[1:3], *other[1:3]}) == 4
    assert [key_and_place(id) for id in one[1:3]] == [(key_of("data:a"), 0), (key_of("data:a"), 1)]
    assert min(one[1:3]) >= FIRST
    assert max(one[1:3]) < 2**61


def test_its_replies_are_read_without_its_weights(loaded: LoadedModel, folder: Path) -> None:
    """Though its template takes contents in parts only."""
    said = loaded.format.demonstrate(assistant("I see"))
    assert load_format(folder).parse(said) == assistant("I see")


def test_a_conversation_grows_by_its_pictures(loaded: LoadedModel) -> None:
    first = [system(f"You see {IMAGE}."), user([picture(10), text_part("and"), picture(200, 40)])]
    added = [user([text_part("now"), picture(10)])]
    prompt = loaded.format.first_prompt(first)
    assert not prompt.fork
    assert len(prompt.pictures) == 2
    reply = assistant("I see")
    said = loaded.format.demonstrate(reply)
    later = loaded.format.next_prompt([*first, reply], (*prompt.ids, *said), added)
    assert not later.fork
    assert later.pictures == prompt.pictures[:1]
    context = (*prompt.ids, *said, *later.ids)
    again = loaded.format.first_prompt([*first, reply, *added])
    assert context == again.ids
    # A text that spells the placeholder shows no picture.
    assert len(shown(prompt.ids)) == 2


def test_a_prompt_is_that_of_the_models_own_processor(loaded: LoadedModel, folder: Path) -> None:
    one, other = picture(10), picture(200, 40)
    prompt = loaded.format.first_prompt([system("Look."), user([one, text_part("and"), other])])
    images = AutoImageProcessor.from_pretrained(folder, backend="pil")
    processor = Idefics3Processor(images, loaded.tokenizer, loaded.model.model.image_seq_len)
    parts = [{"type": "image"}, text_part("and"), {"type": "image"}]
    messages = [{"role": "system", "content": [text_part("Look.")]}, {"role": "user", "content": parts}]
    text = loaded.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    pictures = [Image.fromarray(from_url(url)) for url in prompt.pictures]
    given = processor(text=[text], images=[pictures], add_special_tokens=False, return_tensors="pt")
    placeholder = loaded.model.config.image_token_id
    assert [placeholder if id >= FIRST else id for id in prompt.ids] == given.input_ids[0].tolist()
    assert [key_of(url) for url in prompt.pictures] == shown(prompt.ids)
    expected = loaded.model(**given, use_cache=False).logits[0]
    torch.testing.assert_close(plain_logits(loaded, prompt.ids, prompt.pictures), expected)


def test_the_engine_samples_from_the_plain_forward(loaded: LoadedModel, episodes: list[Episode]) -> None:
    for episode in episodes:
        (row,) = episode.training_sequences()
        assert len(episode.turns) == 3
        assert len(shown(row.ids)) == 3
        # After an illegal reply the board is the same picture again.
        assert 1 <= len(row.pictures) <= 3
        logits = plain_logits(loaded, row.ids, row.pictures).log_softmax(-1)
        places = [place for place, sampled in enumerate(row.sampled) if sampled]
        expected = [logits[place - 1, row.ids[place]].item() for place in places]
        assert [row.logprobs[place] for place in places] == pytest.approx(expected, abs=1e-5)


def test_what_is_kept_of_a_picture_is_kept_for_that_picture(loaded: LoadedModel) -> None:
    """Two prompts that differ in nothing but their pictures, and one that goes on from the other's."""
    prompts = [
        loaded.format.first_prompt([user([text_part("x" * 40), picture(colour), text_part("?")])])
        for colour in (0, 255, 0)
    ]
    assert prompts[0].ids == prompts[2].ids != prompts[1].ids
    engine = EmbeddedEngine(loaded.model)

    async def sample() -> list[Any]:
        sessions = [engine.session() for _ in prompts]
        pairs = list(zip(sessions, prompts, strict=True))
        first = [one.generate(prompt.ids, Sampling(4), 0, prompt.pictures) for one, prompt in pairs]
        answers = await asyncio.gather(*first)
        # The same session, another picture: nothing of the old one may stay.
        other = prompts[1]
        swapped = await asyncio.gather(
            *(one.generate(other.ids, Sampling(4), 0, other.pictures) for one in sessions)
        )
        for session in sessions:
            session.close()
        return [answers, swapped]

    answers, swapped = asyncio.run(sample())
    engine.close()
    assert answers[0].ids == answers[2].ids
    for prompt, answer in [*zip(prompts, answers, strict=True), *((prompts[1], one) for one in swapped)]:
        logits = plain_logits(loaded, (*prompt.ids, *answer.ids), prompt.pictures).log_softmax(-1)
        expected = [logits[len(prompt.ids) + k - 1, id].item() for k, id in enumerate(answer.ids)]
        assert list(answer.logprobs) == pytest.approx(expected, abs=1e-5)
    difference = plain_logits(loaded, prompts[0].ids, prompts[0].pictures)[-1]
    difference = difference - plain_logits(loaded, prompts[1].ids, prompts[1].pictures)[-1]
    assert difference.abs().max() > 1e-3


def test_training_is_the_plain_forward_and_its_gradients(
    loaded: LoadedModel, episodes: list[Episode], tmp_path: Path
) -> None:
    """From episodes that were written to a file and read again, in micro-batches that share what rows
    share."""
    stored = read_episodes(write_episodes(tmp_path / "episodes.parquet", episodes))
    assert stored == episodes
    rows = [row for episode in stored for row in episode.training_sequences()]
    # And another's moves, which lead to other boards.
    (played,) = rollout(ScriptedPolicy("random"), PACMAN, [EpisodeStart(3)])
    (shown_moves,) = render(played, loaded.format).training_sequences()
    assert len(shown_moves.pictures) == 3
    rows.append(shown_moves)
    assert packs(loaded.model)
    kept = TokenRows(rows)
    assert [row.pictures for row in kept.take([3, 1])] == [rows[3].pictures, rows[1].pictures]
    assert kept[2].ids == rows[2].ids
    other = TokenRows([replace(row, pictures=row.pictures[:1] * len(row.pictures)) for row in rows])
    assert other.digest != kept.digest

    parameters = dict(loaded.model.named_parameters())
    weights = torch.linspace(0.5, 1.5, sum(map(sum, (row.sampled for row in rows))))
    found: dict[str, Tensor] = {}
    (whole,) = pack(rows, 10**6)
    assert whole.tokens < sum(len(row.ids) for row in rows)
    for batches in ([whole], pack(rows, 1)):
        scored = torch.empty(len(weights))
        for batch in batches:
            logprobs = score(loaded.model, batch, 1.0).logprobs
            scored = scored.index_put((batch.token_N,), logprobs)
        loaded.model.zero_grad()
        (scored * weights).sum().backward()
        gradients = {name: one.grad.clone() for name, one in parameters.items() if one.grad is not None}
        if not found:
            found = gradients
            continue
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[name], rtol=1e-4, atol=1e-4)

    plain: list[Tensor] = []
    for row in rows:
        logits = plain_logits(loaded, row.ids, row.pictures).log_softmax(-1)
        plain += [logits[place - 1, row.ids[place]] for place, sampled in enumerate(row.sampled) if sampled]
    expected = torch.stack(plain)
    torch.testing.assert_close(scored, expected, rtol=0, atol=1e-5)
    loaded.model.zero_grad()
    (expected * weights).sum().backward()
    assert any(name.startswith("model.vision_model") for name in found)
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-4)
    loaded.model.zero_grad(set_to_none=True)


def test_what_it_knows_of_pictures_goes_to_other_processes(loaded: LoadedModel) -> None:
    assert pickled(loaded, list(loaded.model.parameters()))


@pytest.mark.slow
def test_two_processes_train_a_model_that_sees(folder: Path, tmp_path: Path) -> None:
    config = parse_config(
        {
            "run": {"name": "sees", "workers": 2, "threads": 1},
            "environment": {"id": "ludus/PacManWhere-v0", "arguments": {"pixels": 12}},
            "model": {"path": str(folder)},
            "sft": {"steps": 2, "demonstrations": 16, "heldout_demonstrations": 4, "batch_episodes": 8},
            "grpo": {"steps": 2, "groups": 2, "group_size": 4, "learning_rate": 1e-3, "kl_coefficient": 0.01},
            "rollout": {"max_tokens": 8},
            "evaluation": {"episodes": 4},
        }
    )
    train(config, tmp_path / "run")
    trained, before = load_model(tmp_path / "run/models/final"), load_model(folder)
    assert reader_of(trained.model) is not None
    for name, weight in before.model.named_parameters():
        if name.endswith("patch_embedding.weight"):
            assert (trained.model.get_parameter(name) != weight).any()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "grpo"]
    assert len(steps) == 2
    assert max(step["mismatch_max"] for step in steps) < 1e-4


def test_pictures_that_cannot_be_are_refused_in_one_line(loaded: LoadedModel, folder: Path) -> None:
    with pytest.raises(SightError, match="cannot be read"):
        loaded.format.first_prompt([user([image_part(b"none")])])
    with pytest.raises(SightError, match="has no image processor"):
        let_see(loaded.model, loaded.tokenizer, folder.parent)
    engine = EmbeddedEngine(loaded.model)
    engine.sees = False
    with engine.session() as session, pytest.raises(EngineError, match="takes no pictures"):
        asyncio.run(session.generate([1], Sampling(), 0, ["data:"]))
    engine.close()
    (url,) = loaded.format.first_prompt([user([picture(7)])]).pictures
    reader = reader_of(loaded.model)
    assert reader is not None
    wrong = replace(
        reader, processor=Idefics3Processor(reader.processor.image_processor, loaded.tokenizer, 9)
    )
    loaded.model.picture_reader = wrong  # type: ignore[assignment]
    try:
        with pytest.raises(SightError, match=r"makes 16 tokens of a picture .* has 9:"):
            features_of(loaded.model, [url])
    finally:
        loaded.model.picture_reader = reader  # type: ignore[assignment]


def test_smolvlm_is_computed_like_idefics3(loaded: LoadedModel, folder: Path, tmp_path: Path) -> None:
    """They differ in their names only."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / FOLDER_FILE).unlink()
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "smolvlm"}
    config["vision_config"]["model_type"] = "smolvlm_vision"
    (tmp_path / "config.json").write_text(json.dumps(config))
    other = load_model(tmp_path)
    assert type(other.model).__name__ == "SmolVLMForConditionalGeneration"
    prompt = other.format.first_prompt([user([picture(90), text_part("?")])])
    assert prompt == loaded.format.first_prompt([user([picture(90), text_part("?")])])
    (key,) = shown(prompt.ids)
    ours, its = (features_of(one.model, prompt.pictures)[key].embeddings_NH for one in (loaded, other))
    torch.testing.assert_close(ours, its)
    logits = [plain_logits(one, prompt.ids, prompt.pictures) for one in (loaded, other)]
    torch.testing.assert_close(*logits)


def test_a_family_that_sees_otherwise_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    with pytest.raises(ModelLoadError, match=r"not a causal language model[^\n]*$"):
        load_model(tmp_path)
