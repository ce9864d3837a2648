"""`ludus plan`: what the code of a run allocates, found without allocating it."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Lfm2Config, LlamaConfig, LlamaForCausalLM, Mamba2Config

from ludus.agents.adapters import files
from ludus.agents.adapters.files import save_adapter
from ludus.agents.adapters.lora import add_adapter
from ludus.agents.models import LoadedModel, load_model
from ludus.agents.picture_ids import FIRST, shown_by
from ludus.agents.sight import reader_of
from ludus.agents.small_vision import SmallVisionShape, build_small_vision_model
from ludus.cli import main
from ludus.envs.chat import user
from ludus.envs.picture import picture_part
from ludus.tools.errors import UserError
from ludus.trainers.algorithms import sft
from ludus.trainers.batches.packing import pack
from ludus.trainers.config.reading import override, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.models.optimizer import build_optimizer, take_step
from ludus.trainers.parallel.member import Member
from ludus.trainers.plan import plan as planning
from ludus.trainers.plan.fit import largest_batch, longest_context, remedies
from ludus.trainers.plan.ledger import Ledger
from ludus.trainers.plan.memory import free_bytes, read_amount
from ludus.trainers.plan.models import Source, source_of, without_numbers
from ludus.trainers.plan.plan import MemoryPlan, Work, plan, work_of
from ludus.trainers.plan.process import peak_bytes, process_bytes, save_smallest_model, smallest_run
from ludus.trainers.plan.rows import of_length, stretched, with_own_pictures

from . import qwen
from .conftest import CONFIGS, changed

LAYERS, KEY_HEADS, WIDTH = 2, 1, 16
"""Of the tiny model; the width is that of a head."""
Parts = dict[str, int]


@pytest.fixture(scope="module")
def work(tiny_folder: Path) -> Work:
    """Sixteen rows, in a process that takes nothing."""
    random = Random(0)
    rows = [
        replace(of_length(length, 24), ids=tuple(random.randrange(256) for _ in range(length)))
        for length in (40, 41, 42, 43) * 4
    ]
    return Work(source_of(tiny_folder), 0, 4096, rows, rows)


@pytest.fixture(scope="module")
def primed(tiny: RunConfig) -> RunConfig:
    """Priming alone."""
    return changed(changed(tiny, "grpo", steps=0), "evaluation", episodes=0)


@pytest.fixture(scope="module")
def rewarded(tiny: RunConfig) -> RunConfig:
    """GRPO alone."""
    return changed(changed(tiny, "sft", steps=0), "evaluation", episodes=0)


@pytest.fixture(scope="module")
def update(rewarded: RunConfig, work: Work) -> Parts:
    return parts(plan(rewarded, work), "update")


def parts(planned: MemoryPlan, phase: str) -> Parts:
    (found,) = [dict(own.parts) for own in planned.phases if own.name == phase]
    return found


def weight_bytes(model: torch.nn.Module, trained: bool = False) -> int:
    return sum(p.nbytes for p in model.parameters() if p.requires_grad or not trained)


def test_parts_add_up(tiny: RunConfig, work: Work) -> None:
    planned = plan(tiny, replace(work, process=1000))
    names = [phase.name for phase in planned.phases]
    assert names == ["load", "priming", "evaluation", "rollout", "scoring", "update"]
    for phase in planned.phases:
        assert phase.total == sum(phase.parts.values())
        assert phase.parts["process"] == 1000
        assert min(phase.parts.values()) > 0
    assert parts(planned, "load")["file of the weights"] > parts(planned, "load")["weights"] * 0.9
    assert planned.run.total == max(phase.total for phase in planned.phases)
    assert dict(planned.run.parts) in [dict(phase.parts) for phase in planned.phases]
    # Rows of the cache grow by 128 positions; each has a key and a value in each layer.
    assert parts(planned, "rollout")["keys and values"] == 16 * 128 * LAYERS * 2 * KEY_HEADS * WIDTH * 4


def test_keys_and_values_are_told_when_they_grow(rewarded: RunConfig, work: Work) -> None:
    """From 128 positions to 384, layer by layer."""
    position = 16 * LAYERS * 2 * KEY_HEADS * WIDTH * 4
    found = parts(plan(rewarded, replace(work, sampled=[of_length(300, 200)] * 16)), "rollout")
    assert 384 * position <= found["keys and values"] <= (384 + 128) * position


def test_prompts_that_wait_for_what_they_share_are_counted(rewarded: RunConfig, work: Work) -> None:
    """They are computed in the second pass, all but their beginnings."""

    def activations(shared: int) -> int:
        rows = [
            replace(row, ids=(*row.ids[:shared], *[number] * (400 - shared)))
            for number, row in enumerate([of_length(400, 1)] * 16)
        ]
        return parts(plan(rewarded, replace(work, sampled=rows)), "rollout")["activations"]

    assert activations(32) > activations(0) / 2


@pytest.mark.parametrize(
    "other", [Mamba2Config(), Lfm2Config(num_hidden_layers=2, layer_types=["conv", "full_attention"])]
)
def test_models_that_are_not_packed_are_refused(
    other: Any, tiny: RunConfig, tiny_folder: Path, tmp_path: Path
) -> None:
    other.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"^\w+ForCausalLM: models computed by their own .* a few steps$"):
        without_numbers(Source(tiny_folder, tmp_path), tiny, Ledger())


def test_weights_and_their_copies(update: Parts, policy: LoadedModel) -> None:
    size = weight_bytes(policy.model)
    buffers = sum(buffer.nbytes for buffer in policy.model.buffers())
    assert size <= update["weights"] <= size + buffers
    assert update["reference model"] == size  # kl_coefficient is not 0


def test_what_training_holds_is_counted(primed: RunConfig, work: Work, policy: LoadedModel) -> None:
    """The same code on a model with numbers: the tensors that are there afterwards."""
    optimizer = build_optimizer(policy.model, primed.sft, primed.model.masters)
    micro_batches = pack(work.fine_tuned, 256)
    assert len(micro_batches) > 1
    parts_2N = [torch.ones(2, len(micro.token_N)) for micro in micro_batches]
    pieces = [sft.Weighed(*piece, 0.0) for piece in zip(micro_batches, parts_2N, strict=True)]
    sft.accumulate_gradients(Member(policy, primed), pieces)
    gradients = sum(p.grad.nbytes for p in policy.model.parameters() if p.grad is not None)
    take_step(optimizer, 1e-3)
    slots = optimizer.state_dict()["state"].values()
    tensors = [value for slot in slots for value in slot.values() if torch.is_tensor(value)]
    planned = parts(plan(changed(primed, "sft", microbatch_tokens=256), work), "priming")
    # All gradients are there when those of the second micro-batch are computed.
    assert planned["gradients"] == gradients == weight_bytes(policy.model)
    # All but the numbers of steps, which are tensors with numbers there, too.
    assert planned["optimizer"] == sum(tensor.nbytes for tensor in tensors if tensor.dim())


def test_an_adapter_has_gradients_and_the_base_has_none(
    rewarded: RunConfig, work: Work, policy: LoadedModel, update: Parts, tiny_folder: Path
) -> None:
    dump = changed(rewarded, "grpo", microbatch_tokens=256).model_dump(exclude_none=True)
    model = {"path": str(tiny_folder)}
    # In two micro-batches: gradients of the first are there when most is, in the second.
    adapted = plan(RunConfig.model_validate({**dump, "model": model, "adapter": {"rank": 4}}), work)
    whole, found = weight_bytes(policy.model), parts(adapted, "update")
    add_adapter(policy.model, 4, 1.0, ["all-linear"])
    size = weight_bytes(policy.model, trained=True)
    assert found["adapter"] == found["reference model"] == size
    assert found["weights"] == update["weights"]
    assert size < whole
    assert found["gradients"] == size
    assert 2 * size <= found["optimizer"] < 3 * size
    assert sum(found.values()) < sum(update.values())


def test_bfloat16_has_copies_and_gradients_in_float32(
    rewarded: RunConfig, work: Work, update: Parts, policy: LoadedModel
) -> None:
    short = parts(plan(changed(rewarded, "model", dtype="bfloat16"), work), "update")
    without = parts(plan(changed(rewarded, "model", dtype="bfloat16", masters=False), work), "update")
    assert 2 * short["reference model"] == update["reference model"]
    assert short["float32 copies"] == weight_bytes(policy.model)
    assert without.get("float32 copies", 0) == 0
    assert short["optimizer"] == update["optimizer"]


def test_layers_that_are_computed_again_keep_less(primed: RunConfig, work: Work) -> None:
    rows = replace(work, fine_tuned=[of_length(1000, 900)])
    kept = parts(plan(primed, rows), "priming")
    again = parts(plan(changed(primed, "model", recompute_every=1), rows), "priming")
    assert again["activations"] < kept["activations"]


@pytest.mark.parametrize("kind", ["head", "model"])
def test_a_value_model_is_counted(kind: str, work: Work, update: Parts) -> None:
    tiny_shape = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "intermediate": 64}
    settings = {
        "sft.steps": "0",
        "evaluation.episodes": "0",
        "critic.kind": kind,
        **{f"model.small.{key}": str(value) for key, value in tiny_shape.items()},
    }
    values = tomllib.loads((CONFIGS / "ppo.toml").read_text())
    del values["critic"]["coefficient"]  # of a head
    for key, value in settings.items():
        override(values, key, value)
    found = parts(plan(parse_config(values), work), "update")
    if kind == "head":
        assert found["value model"] == (32 + 1) * 4
    else:
        assert found["value model"] == update["reference model"] + (32 + 1) * 4
        assert found["optimizer"] >= update["optimizer"] + 2 * update["reference model"]


def test_preferences_are_counted(primed: RunConfig, work: Work, policy: LoadedModel) -> None:
    """Where pairs are played, a reference is beside the policy; both sides of one are computed together."""
    config = changed(changed(primed, "preferences", steps=1, microbatch_tokens=64), "sft", steps=0)
    pairs = [([one], [other]) for one, other in zip(work.sampled[::2], work.sampled[1::2], strict=True)]
    planned = plan(config, replace(work, preferred=pairs))
    assert [phase.name for phase in planned.phases] == ["load", "pairs", "preferences"]
    found = parts(planned, "preferences")
    assert found["reference model"] == weight_bytes(policy.model)
    alone = parts(plan(changed(primed, "sft", microbatch_tokens=64), work), "priming")
    assert alone["activations"] < found["activations"] < 3 * alone["activations"]


@pytest.mark.parametrize(
    ("weights", "rated", "members"),
    [({"self": 1.0, "league": 1.0}, 30, 3), ({"random": 1.0}, 30, 3), ({"self": 1.0}, 0, 0)],
)
def test_past_checkpoints_are_counted_and_both_seats(
    weights: dict[str, float], rated: int, members: int, work: Work, policy: LoadedModel
) -> None:
    values = tomllib.loads((CONFIGS / "selfplay.toml").read_text())
    values["opponents"]["weights"] = weights
    values["opponents"]["rating"]["every"] = rated
    for key, value in {"sft.steps": "0", "evaluation.episodes": "0", "opponents.league.size": "3"}.items():
        override(values, key, value)
    values["grpo"] |= {"groups": 4, "group_size": 4}
    played = plan(parse_config(values), work)
    del values["opponents"]
    alone = plan(parse_config(values), work)
    for phase in ("rollout", "update"):
        assert parts(played, phase).get("league", 0) == members * weight_bytes(policy.model)
    assert "league" not in parts(alone, "rollout")
    caches = [parts(each, "rollout")["keys and values"] for each in (played, alone)]
    assert caches[0] == 2 * caches[1]


@pytest.mark.parametrize(
    "family",
    ["qwen3_vl", *(pytest.param(name, marks=pytest.mark.slow) for name in ("idefics3", "qwen2_5_vl"))],
)
def test_towers_and_pictures_are_counted(
    family: str, tiny: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if family == "idefics3":
        shape = SmallVisionShape(hidden=16, layers=2, vision_layers=1, heads=2, image=32, patch=8)
        folder, layers = build_small_vision_model(tmp_path / "model", [], shape), 1
    else:
        folder = qwen.build(tmp_path / "model", family)
        layers = 3 if family == "qwen3_vl" else 1
    sections = {
        "environment": {"id": "ludus/TicTacToeChat-v0", "arguments": {"observation": "picture"}},
        "model": {"path": str(folder)},
        "sft": {"steps": 0},
        "grpo": {
            "steps": 1,
            "groups": 2,
            "group_size": 2,
            "kl_coefficient": 0.01,
            "microbatch_tokens": 64,
        },
        "rollout": {"max_tokens": 8},
        "evaluation": {"episodes": 0},
    }
    config = RunConfig.model_validate(tiny.model_dump(exclude_none=True) | sections)
    monkeypatch.setattr(planning, "process_bytes", lambda *_: 0)
    work = work_of(config)
    one, two = work.sampled[2:]
    assert len(one.pictures) > 1
    assert set(one.pictures) & set(two.pictures) == set(one.pictures[:1])  # what a group begins with
    planned, loaded = plan(config, work), load_model(folder)
    size = weight_bytes(loaded.model)
    buffers = sum(buffer.nbytes for buffer in loaded.model.buffers())
    rollout, update = parts(planned, "rollout"), parts(planned, "update")
    assert size <= update["weights"] <= size + buffers
    assert update["gradients"] == update["reference model"] == size
    # A key and a value for each position in each layer; and of every picture of all episodes an embedding for
    # each token, for the input and for further layers, which are there twice while they are joined.
    position = 4 * LAYERS * 2 * (16 if family == "idefics3" else qwen.KEY_HEADS * qwen.HEAD) * 4
    length = -(-max(len(row.ids) for row in work.sampled) // 128) * 128
    tokens = {id for row in work.sampled for id in row.ids if id >= FIRST}
    seen = len(tokens) * 16 * 4 * layers
    least = length * position + seen
    assert least <= rollout["keys and values"] <= least + 128 * position + seen
    # The same rows of text alone.
    blind = [
        replace(row, ids=tuple(5 if id >= FIRST else id for id in row.ids), pictures=())
        for row in work.sampled
    ]
    without = plan(config, replace(work, sampled=blind))
    for phase in ("scoring", "update"):
        assert parts(planned, phase)["activations"] > parts(without, phase)["activations"]
    # What is measured beside it reads pictures as they are read here.
    save_smallest_model(work.source, tmp_path / "smallest")
    message = [user([picture_part(np.zeros((30, 50, 3), np.uint8))])]
    assert load_model(tmp_path / "smallest").format.first_prompt(message) == loaded.format.first_prompt(
        message
    )


def test_rows_have_pictures_of_their_own(tmp_path: Path) -> None:
    loaded = load_model(qwen.build(tmp_path, "qwen3_vl"))
    board = picture_part(np.zeros((16, 16, 3), np.uint8))
    prompt = loaded.format.first_prompt([user([board])])
    ids = (*prompt.ids, 5, *prompt.ids)
    row = replace(of_length(len(ids), 1), ids=ids, pictures=prompt.pictures)
    own = with_own_pictures(row, 3, len(prompt.ids))
    assert own.ids[: len(prompt.ids)] == prompt.ids
    assert own.ids != row.ids
    assert own.pictures == shown_by(own.ids, own.pictures)
    reader = reader_of(loaded.model)
    assert reader is not None
    one, other = (reader.pixels(url)["pixel_values"] for url in own.pictures)
    assert torch.equal(one, other)


def test_workers_have_processes_and_gradients_of_their_own(primed: RunConfig, work: Work) -> None:
    work = replace(work, process=1000)
    one, two = (parts(plan(changed(primed, "run", workers=count), work), "priming") for count in (1, 2))
    assert two["process"] == 2000
    assert two["weights"] == one["weights"]
    assert two["gradients"] >= one["weights"]


@pytest.mark.parametrize(("length", "longer"), [(16, 17), pytest.param(300, 1500, marks=pytest.mark.slow)])
def test_longer_rows_never_take_less(length: int, longer: int, tiny: RunConfig, work: Work) -> None:
    def total(tokens: int) -> int:
        rows = [of_length(tokens, 8)]
        return plan(changed(tiny, "sft", steps=1), replace(work, fine_tuned=rows, sampled=rows)).run.total

    assert total(length) <= total(longer)


@pytest.mark.slow  # many plans
def test_what_fits(primed: RunConfig, work: Work) -> None:
    planned = plan(primed, work).run.total
    tokens, is_whole = largest_batch(primed, work, 2**40)
    assert is_whole
    assert tokens >= 16 * 40
    assert largest_batch(primed, work, planned - 1)[0] < tokens
    longest = longest_context(primed, work, 2 * planned)
    assert 256 <= longest < 4096
    assert largest_batch(primed, work, 1000) == (0, False)
    assert longest_context(primed, work, 1000) == 0


@pytest.mark.slow  # many plans
def test_what_to_switch_on(primed: RunConfig, work: Work) -> None:
    tried = list(remedies(primed, work, 1000))
    assert [remedy.settings for remedy in tried][:2] == [
        "model.recompute_every = 1",
        "sft.microbatch_tokens = 256",
    ]
    assert tried[0].peak > tried[1].peak
    assert list(remedies(primed, work, tried[0].peak)) == tried[:1]


def test_rows_are_as_long_as_they_may_become(tiny: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "process_bytes", lambda *_: 0)
    work = work_of(tiny)
    assert len(work.sampled) == 16
    assert {sum(row.sampled) for row in work.sampled} == {tiny.rollout.max_tokens}
    prompts = [row.ids[: row.sampled.index(True)] for row in work.sampled]
    assert prompts[0] == prompts[3] != prompts[4]  # groups of four
    assert work.context == 4096


def test_adapters_are_counted_as_they_are(
    rewarded: RunConfig, work: Work, policy: LoadedModel, tiny_folder: Path, tmp_path: Path
) -> None:
    """By what PEFT's configuration means; with what one that began as principal components subtracts."""
    dump = rewarded.model_dump(exclude_none=True)
    sizes = []
    for init in ("default", "pissa"):
        config = {**dump, "model": {"path": str(tiny_folder)}, "adapter": {"rank": 4, "init": init}}
        sizes.append(parts(plan(RunConfig.model_validate(config), work), "load")["adapter"])
    assert sizes[1] == 2 * sizes[0]
    add_adapter(policy.model, 4, 1.0, ["q_proj"])
    save_adapter(policy.model, tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "target_modules": r".*\.q_proj"}))
    own = Work(source_of(tmp_path), 0, 4096, work.fine_tuned, work.sampled)
    found = parts(plan(RunConfig.model_validate({**dump, "model": {"path": str(tmp_path)}}), own), "load")
    assert found["adapter"] == weight_bytes(policy.model, trained=True)


def test_an_adapter_of_a_base_in_four_bits_is_refused(
    rewarded: RunConfig, policy: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_adapter(policy.model, 4, 1.0, ["q_proj"])
    with monkeypatch.context() as patch:
        patch.setattr(files, "is_quantized", lambda _: True)
        patch.setattr(files, "source", lambda layer: layer.weight)
        save_adapter(policy.model, tmp_path)
    config = {**rewarded.model_dump(exclude_none=True), "model": {"path": str(tmp_path)}}
    with pytest.raises(ConfigError, match=r'model\.quantize = "nf4": what bitsandbytes takes'):
        work_of(RunConfig.model_validate(config))


@given(
    marks=st.lists(st.booleans(), min_size=1, max_size=30),
    completion=st.integers(1, 9),
    limit=st.integers(1, 40),
)
def test_stretched_rows_keep_prompts_and_end_at_the_limit(
    marks: list[bool], completion: int, limit: int
) -> None:
    marks = [False, *marks, True]
    row = replace(of_length(len(marks), 1), sampled=tuple(marks), ids=tuple(range(len(marks))))
    made = stretched(row, completion, limit, lambda: -1)
    prompt = marks.index(True)
    assert made.ids[:prompt] == row.ids[:prompt]
    assert any(made.sampled)
    assert len(made.ids) <= max(limit, prompt + completion)
    assert all((id == -1) == sampled for id, sampled in zip(made.ids, made.sampled, strict=True))


def test_a_ledger_counts_until_memory_is_free() -> None:
    with Ledger() as ledger:
        with ledger.counting("weights"):
            weight = torch.zeros(10, 10)
        view = weight[:5]
        with ledger.counting("more"):
            product = weight @ weight
            (product + 1).mul_(2)
        assert ledger.live == {"weights": 400, "more": 400}
        assert ledger.peak == {"weights": 400, "more": 800}
        with ledger.counting("other"):
            small = product[:2] + 1
        assert small.nbytes == 80
        assert ledger.peak == {"weights": 400, "more": 800}  # there was more at that moment
        del small
        ledger.begin()
        ledger.move(product, "kept")
        ledger.move_all("weights", "kept")
        del product, weight
        assert {part: size for part, size in ledger.live.items() if size} == {"kept": 400}  # the view's
        assert float(view.sum()) == 1.0
        assert view.tolist() == [[1.0] * 10] * 5
    with ledger:
        place = torch.from_numpy(np.arange(3))
        assert int(place.max()) == 2  # numbers that are there
    assert not isinstance(torch.zeros(1).item(), str)


def test_a_whole_model_is_counted_to_the_byte() -> None:
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    with Ledger() as ledger, ledger.counting("weights"):
        fake: Any = LlamaForCausalLM(config)
    real: Any = LlamaForCausalLM(config)
    assert ledger.live["weights"] == weight_bytes(real) + sum(b.nbytes for b in real.buffers())
    assert weight_bytes(fake) == weight_bytes(real)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 * 2**30),
        ("16.5 GB", 16_500_000_000),
        (" 800MiB ", 800 * 2**20),
        ("1TiB", 2**40),
        ("7B", 7),
    ],
)
def test_amounts(text: str, size: int) -> None:
    assert read_amount(text) == size


@pytest.mark.parametrize("text", ["24 GB?", "24", "GiB", "-1GiB", "0GiB", "24gib", "1e3MiB", "", "24iB"])
def test_what_is_no_amount_is_refused_in_a_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="such as 24GiB"):
        read_amount(text)
    assert main(["plan", str(CONFIGS / "tiny.toml"), f"--memory={text}"]) == 2
    assert capsys.readouterr().err == (
        f'error: "{text}" is not an amount of memory: write a number and a unit, such as 24GiB\n'
    )


def test_there_is_free_memory() -> None:
    assert 2**20 < free_bytes("cpu") < 2**50


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--grpo.stepz", "3"), 'unknown key "grpo.stepz"'),
        (("--model.path", "/nowhere/model", "--model.small", "{}"), "/nowhere/model"),
        (("--model.device", "cuda"), "--memory 24GiB"),
        (("--model.device", "nonsense"), "--memory 24GiB"),
        (("--grpo.optimizer", "adamw_8bit"), "bitsandbytes"),
        (("--critic.optimizer", "adamw_8bit", "--grpo.credit", "gae"), 'critic.optimizer = "adamw_8bit"'),
        (("--engine.max_context", "999999"), "was built for 4096 positions"),
        (("--engine.kind", "vllm"), 'engine.kind = "vllm": what it takes is not counted'),
        (("--environment.id", "ludus/Nothing-v0"), "ludus/Nothing-v0"),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_line(
    options: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(CONFIGS / "tiny.toml"), *options]) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error


@pytest.mark.slow  # many plans
def test_the_command_prints_parts_and_what_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "process_bytes", lambda *_: 300 * 2**20)
    assert main(["plan", str(CONFIGS / "tiny.toml"), "--memory", "1GiB"]) == 0
    out = capsys.readouterr().out
    for word in (
        "weights",
        "keys and values",
        "update",
        "fits: 3",
        "largest microbatch_tokens",
        "longest rows",
    ):
        assert word in out
    assert main(["plan", str(CONFIGS / "tiny.toml"), "--memory", "200MiB"]) == 1
    assert "model.recompute_every = 1" in capsys.readouterr().out


@pytest.mark.slow  # starts a process
def test_the_smallest_run_tells_what_a_process_takes(tiny: RunConfig, tiny_folder: Path) -> None:
    def counted(config: RunConfig, source: Source) -> int:
        assert config.rollout.max_tokens <= 64
        assert source.folder.is_dir()
        return 3

    whole = process_bytes(tiny, source_of(tiny_folder), lambda *run: counted(*run) - 3)
    assert 200 * 2**20 < whole < 2**31
    assert peak_bytes() > 2**20


def test_the_smallest_run_has_the_phases_of_the_run(tiny: RunConfig) -> None:
    smallest = smallest_run(tiny, Path("model"))
    assert (smallest.sft.steps, smallest.grpo.steps, smallest.model.path) == (1, 1, "model")
    assert smallest.grpo.groups == tiny.grpo.groups
    assert smallest.grpo.kl_coefficient == tiny.grpo.kl_coefficient
    without = smallest_run(changed(changed(tiny, "sft", steps=0), "grpo", steps=0), Path("model"))
    assert (without.sft.steps, without.grpo.steps) == (0, 0)
