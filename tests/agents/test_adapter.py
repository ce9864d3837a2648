"""LoRA adapters: what they compute, PEFT's files in and out, one clear line where one does not fit."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import PreTrainedModel

from ludus.agents.adapters import merge
from ludus.agents.adapters.files import load_adapter, save_adapter, sharing_base
from ludus.agents.adapters.lora import AdapterError, adapter_terms, add_adapter
from ludus.agents.adapters.merge import merge_adapter
from ludus.agents.engines.base import Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.models import (
    LoadedModel,
    ModelLoadError,
    load_format,
    load_model,
    load_tokenizer,
    quiet_transformers,
)
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.cli import main

TINY = SmallModelShape(hidden=16, layers=2, heads=2, kv_heads=1, head_dim=8, intermediate=24)
IDS = torch.arange(3, 12)[None]
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_model(
        [EnvironmentSpec("ludus/Arithmetic-v0", {})], TINY, cache_directory=tmp_path_factory.mktemp("models")
    )


@pytest.fixture
def loaded(base: Path) -> LoadedModel:
    return load_model(base)


def learned(model: Any, seed: int = 0) -> Any:
    """As if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for term in adapter_terms(model).values():
            for matrix in (term.a_RI, term.b_OR):
                matrix.add_(torch.empty_like(matrix).normal_(0, 0.2, generator=generator))
    return model


def saved(model: Any, folder: Path) -> Path:
    folder.mkdir()
    save_adapter(model, folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def sampled(model: Any) -> tuple[Any, ...]:
    async def generate() -> tuple[Any, ...]:
        with EmbeddedEngine(model).session() as session:
            completion = await session.generate(IDS[0].tolist(), Sampling(12, temperature=1.0), seed=3)
            return completion.ids, completion.logprobs

    return asyncio.run(generate())


def test_a_new_adapter_changes_no_bit_in_model_or_engine(loaded: LoadedModel) -> None:
    model = loaded.model
    before, names, drawn = logits(model), {*model.state_dict()}, sampled(model)
    add_adapter(model, 4, 2.0, ["all-linear"])
    assert torch.equal(logits(model), before)
    assert sampled(model) == drawn
    assert names <= {*model.state_dict()}
    assert {name.rpartition(".")[2] for name in adapter_terms(model)} == LINEAR
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 2 * len(LINEAR)
    assert all(".lora." in name for name in trained)
    assert sampled(learned(model)) != drawn


def test_pissa_begins_with_the_principal_components_and_the_same_outputs(loaded: LoadedModel) -> None:
    model = loaded.model
    before = logits(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    add_adapter(model, 8, 2.0, ["down_proj"], "pissa")
    torch.testing.assert_close(logits(model), before)
    for name, tensor in weights.items():
        assert torch.equal(model.state_dict()[name], tensor)
    for name, term in adapter_terms(model).items():
        weight = weights[f"{name}.weight"]
        product = term.scaling * term.b_OR.detach() @ term.a_RI.detach()
        sizes = torch.linalg.svdvals(weight)
        left = torch.linalg.matrix_norm(weight - product)
        assert left.item() == pytest.approx(sizes[8:].norm().item(), rel=1e-4)  # Eckart and Young


def test_the_seed_decides_where_an_adapter_begins(base: Path) -> None:
    drawn = []
    for seed in (1, 1, 2):
        model = load_model(base).model
        add_adapter(model, 2, 1.0, ["q_proj"], seed=seed)
        drawn.append(torch.stack([term.a_RI.detach() for term in adapter_terms(model).values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("start", ["default", "pissa"])
def test_it_is_read_back_as_it_was_written(loaded: LoadedModel, tmp_path: Path, start: Any) -> None:
    model = loaded.model
    add_adapter(model, 4, 32 / 3, ["q_proj", "layers.1.mlp.up_proj"], start)
    folder = saved(learned(model), tmp_path / "adapter")
    again = load_model(folder)
    assert torch.equal(logits(again.model), logits(model))
    assert again.format.first_prompt([{"role": "user", "content": "1"}]).ids
    names = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in again.model.named_parameters()} == names
    second = saved(again.model, tmp_path / "again")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (second / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize("start", ["default", "pissa"])
@pytest.mark.parametrize("targets", [["all-linear"], ["layers.0.self_attn.q_proj", "up_proj"]])
def test_ours_loads_in_peft_with_equal_outputs(
    base: Path, tmp_path: Path, start: Any, targets: list[str]
) -> None:
    peft = pytest.importorskip("peft")
    model = load_model(base).model
    add_adapter(model, 4, 3.0, targets, start)
    folder = saved(learned(model), tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(load_model(base).model, folder).eval()
    torch.testing.assert_close(logits(theirs), logits(model), rtol=1e-5, atol=1e-5)
    adapted = [name for name, module in theirs.named_modules() if name.endswith(".base_layer")]
    assert len(adapted) == len(adapter_terms(model))


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "down_proj"], "use_rslora": True, "lora_dropout": 0.1},
        {
            "target_modules": ["up_proj", "v_proj"],
            "layers_to_transform": [1],
            "init_lora_weights": "gaussian",
        },
        {
            "target_modules": r".*self_attn\.[qk]_proj",
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 64},
        },
    ],
)
def test_pefts_loads_here_with_equal_outputs(base: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    theirs = peft.get_peft_model(
        load_model(base).model, peft.LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **options)
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.empty_like(parameter).normal_(0, 0.2, generator=generator))
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_model(tmp_path / "adapter").model
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-5, atol=1e-5)
    # And it is written so that both read it again.
    again = saved(ours, tmp_path / "again")
    torch.testing.assert_close(logits(load_model(again).model), logits(theirs), rtol=1e-5, atol=1e-5)
    back = peft.PeftModel.from_pretrained(load_model(base).model, again).eval()
    torch.testing.assert_close(logits(back), logits(theirs), rtol=1e-5, atol=1e-5)


def test_another_model_shares_the_base_and_nothing_else(loaded: LoadedModel, tmp_path: Path) -> None:
    model = loaded.model
    add_adapter(model, 4, 2.0, ["all-linear"])
    before = logits(model)
    other = sharing_base(model, saved(model, tmp_path / "adapter"))
    learned(model)
    assert torch.equal(logits(other), before)
    assert not torch.equal(logits(model), before)
    ours, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, parameter in ours.items():
        assert (parameter is theirs[name]) == (not parameter.requires_grad)
    learned(other, seed=1)
    assert torch.equal(logits(sharing_base(model, tmp_path / "adapter")), before)


def test_half_precision_leaves_the_adapter_in_float32(base: Path, tmp_path: Path) -> None:
    model = load_model(base).model
    add_adapter(model, 4, 2.0, ["all-linear"])
    folder = saved(learned(model), tmp_path / "adapter")
    half = load_model(folder, dtype="bfloat16").model
    assert {term.a_RI.dtype for term in adapter_terms(half).values()} == {torch.float32}
    assert logits(half).dtype == torch.bfloat16


def test_a_merged_model_computes_the_same_and_is_no_adapter(
    base: Path, loaded: LoadedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_adapter(loaded.model, 4, 2.0, ["all-linear"], "pissa")
    folder = saved(learned(loaded.model), tmp_path / "adapter")
    before = {file.name: file.read_bytes() for file in base.iterdir()}
    assert main(["merge", str(folder), "--out", str(tmp_path / "whole")]) == 0
    whole = load_model(tmp_path / "whole").model
    assert not adapter_terms(whole)
    assert whole.state_dict().keys() == load_model(base).model.state_dict().keys()
    torch.testing.assert_close(logits(whole), logits(loaded.model), rtol=1e-4, atol=1e-5)
    assert {file.name: file.read_bytes() for file in base.iterdir()} == before
    for adapter, out, told in (
        (folder, tmp_path / "whole", "whole has something in it"),
        (tmp_path / "whole", tmp_path / "twice", "is a whole model, not an adapter: there is nothing"),
        (tmp_path / "nowhere", tmp_path / "twice", "nowhere: check the path"),
    ):
        capsys.readouterr()
        assert main(["merge", str(adapter), "--out", str(out)]) == 1
        line = capsys.readouterr().err
        assert told in line
        assert line.count("\n") == 1
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("where", ["a file/whole", "/proc/whole"])
def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_loaded(
    folder: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setattr(merge, "load_model", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ModelLoadError, match=r"whole cannot be written.*name another one") as refused:
        merge_adapter(folder, tmp_path / where)
    assert "\n" not in str(refused.value)


def test_a_disk_that_is_full_while_merging_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise safetensors.SafetensorError("Error while serializing: I/O error: StorageFull (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(ModelLoadError, match=r"whole cannot be written .*StorageFull.*make room"):
        merge_adapter(folder, tmp_path / "whole")
    assert not list(tmp_path.glob("*whole*"))


def test_an_adapter_without_a_tokenizer_has_that_of_its_base(folder: Path, base: Path) -> None:
    """As PEFT writes it."""
    assert not list(folder.glob("tokenizer*"))
    loaded = load_model(folder)
    assert load_format(folder).stop_ids == loaded.format.stop_ids
    assert load_tokenizer(folder).get_vocab() == loaded.tokenizer.get_vocab()


def test_merging_keeps_the_type_that_the_base_is_stored_in(base: Path, tmp_path: Path) -> None:
    half = load_model(base, dtype="bfloat16")
    with quiet_transformers():
        half.model.save_pretrained(tmp_path / "base")
        half.tokenizer.save_pretrained(tmp_path / "base")
    model = load_model(tmp_path / "base").model
    add_adapter(model, 4, 2.0, ["all-linear"])
    merge_adapter(saved(learned(model), tmp_path / "adapter"), tmp_path / "whole")
    tensors = safetensors.torch.load_file(tmp_path / "whole" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["q_prjo"], 'is called "q_prjo" .*; did you mean q_proj?'),
        (["lm_head"], "output embedding is never adapted.*there is down_proj, gate_proj"),
        (["all-linear", "mlp"], 'is called "mlp"'),
    ],
)
def test_unknown_targets_are_named(loaded: LoadedModel, targets: list[str], told: str) -> None:
    with pytest.raises(AdapterError, match=told):
        add_adapter(loaded.model, 4, 2.0, targets)
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())


def test_pissa_of_a_rank_that_no_layer_has(loaded: LoadedModel) -> None:
    with pytest.raises(AdapterError, match=r"rank 17 is more than .*q_proj has, which is 16 by 16"):
        add_adapter(loaded.model, 17, 2.0, ["q_proj"], "pissa")


@pytest.fixture
def folder(loaded: LoadedModel, tmp_path: Path) -> Path:
    """An adapter that a test may break."""
    add_adapter(loaded.model, 4, 2.0, ["all-linear"])
    return saved(learned(loaded.model), tmp_path / "adapter")


def refused(folder: Path, told: str) -> None:
    with pytest.raises(ModelLoadError, match=told) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, "adapter of type IA3, and only LORA"),
        ({"use_dora": True}, "use_dora = true, which makes its layers compute more"),
        ({"bias": "all"}, 'bias = "all", which'),
        ({"modules_to_save": ["lm_head"]}, r'modules_to_save = \["lm_head"\], which'),
        ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens"),
        ({"a_key_of_tomorrow": 1}, "a_key_of_tomorrow = 1"),
        ({"init_lora_weights": "pissa"}, 'began as "pissa", for which PEFT changed the base'),
        ({"base_model_name_or_path": None}, "names its base"),
        ({"r": "four"}, "not an adapter's configuration"),
        ({"lora_alpha": None}, "not an adapter's configuration"),
        ({"lora_alpha": float("nan")}, "not an adapter's configuration"),
        ({"target_modules": "(q_proj"}, "not an adapter's configuration"),
        (
            {"target_modules": ["q_proj"]},
            r"has matrices for .*down_proj, which the target_modules of .* do not",
        ),
        ({"base_model_name_or_path": "/nowhere/at all"}, "whose base, /nowhere/at all, cannot be found"),
    ],
)
def test_what_cannot_be_computed_is_refused(folder: Path, changes: dict[str, Any], told: str) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    refused(folder, told)


def test_an_adapter_for_another_base_is_refused(folder: Path, base: Path, tmp_path: Path) -> None:
    def of(other: Path) -> Path:
        config = json.loads((folder / "adapter_config.json").read_text())
        target = shutil.copytree(folder, tmp_path / f"of-{other.name}")
        (target / "adapter_config.json").write_text(
            json.dumps({**config, "base_model_name_or_path": str(other)})
        )
        return target

    for name, shape, told in (
        ("wider", {"intermediate_size": 32}, "another base: .* has a layer .* of 32 by 16, not 24 by 16"),
        (
            "flatter",
            {"num_hidden_layers": 1, "layer_types": ["full_attention"]},
            r"another base: .* has no linear layer model\.layers\.1\.",
        ),
        (
            "deeper",
            {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3},
            r"has nothing for model\.layers\.2\..* for another base",
        ),
        ("other", {}, "was trained on other weights than .* has now"),
    ):
        other = load_model(base)
        for key, value in shape.items():
            setattr(other.model.config, key, value)
        with quiet_transformers():
            type(other.model)(other.model.config).save_pretrained(tmp_path / name)
            other.tokenizer.save_pretrained(tmp_path / name)
        refused(of(tmp_path / name), told)
    refused(of(folder), "is an adapter, too: merge that one first")
    load_adapter(load_model(base).model, folder)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda tensors: {**tensors, "base_model.model.lm_head.weight": torch.ones(1)},
            "only pairs of lora_A",
        ),
        (lambda tensors: dict(list(tensors.items())[1:]), "has no matching lora_A and lora_B"),
        (
            lambda tensors: dict(list(tensors.items())[2:]),
            "has nothing for model.layers.0.* for another base, or a",
        ),
        (lambda tensors: {}, "is empty"),
        (
            lambda tensors: {name: tensor * float("nan") for name, tensor in tensors.items()},
            "that are NaN or infinite",
        ),
        (
            lambda tensors: {
                name: (tensor[:2] if "_A." in name else tensor[:, :2]).contiguous()
                for name, tensor in tensors.items()
            },
            r"adapter_config.json gives .* rank 4, but its matrices have rank 2",
        ),
    ],
)
def test_tensors_that_are_no_adapters_are_refused(folder: Path, damage: Any, told: str) -> None:
    file = folder / "adapter_model.safetensors"
    safetensors.torch.save_file(damage(safetensors.torch.load_file(file)), file)
    refused(folder, told)


def test_weights_that_are_gone_or_cut_short(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    refused(folder, "corrupt or cut short")
    cut = file.rename(folder / "elsewhere")
    refused(folder, "has no adapter_model.safetensors")
    cut.rename(file)
    (folder / "adapter_config.json").unlink()
    refused(folder, "is an adapter without adapter_config.json: fetch or save it anew")
