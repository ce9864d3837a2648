"""`load_model`: quiet where all is well, one clear line where it is not."""

import json
import shutil
import sys
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ludus.agents import models
from ludus.agents.formats.small import SmallFormat
from ludus.agents.formats.template import TemplateFormat
from ludus.agents.models import ModelLoadError, load_format, load_model, quiet_transformers
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.envs.chat import user

TINY = SmallModelShape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=32)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_small_model(
        [EnvironmentSpec("ludus/Arithmetic-v0", {})], TINY, cache_directory=tmp_path_factory.mktemp("models")
    )


@pytest.fixture
def folder(built, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(built, tmp_path / "model")


def test_loads_without_a_word(built, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_model(str(built))
    assert capfd.readouterr() == ("", "")
    assert isinstance(loaded.format, SmallFormat)
    assert not loaded.model.training
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert loaded.format.vocab_size == len(loaded.tokenizer) == loaded.model.config.vocab_size


def test_dtype(built):
    assert load_model(built, dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_saved_model_loads_the_same(built, tmp_path):
    first = load_model(built)
    with quiet_transformers():
        first.model.save_pretrained(tmp_path / "again")
        first.tokenizer.save_pretrained(tmp_path / "again")
    again = load_model(tmp_path / "again")
    assert isinstance(again.format, SmallFormat)
    ids = torch.tensor([again.format.first_prompt([user("1 + 2")]).ids])
    assert torch.equal(first.model(ids).logits, again.model(ids).logits)


def test_another_template_gets_the_template_format(folder):
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert isinstance(load_model(folder).format, TemplateFormat)


def test_quiet_puts_everything_back():
    from transformers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    with pytest.raises(KeyError), quiet_transformers():
        raise KeyError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def refused(path, match, **options):
    with pytest.raises(ModelLoadError, match=match) as caught:
        load_model(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or options


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_no_such_folder(tmp_path):
    refused(tmp_path / "absent", "no folder .*absent: check the path")
    refused("runs/mine/models/final", "no folder runs/mine/models/final")
    refused("./final", r"no folder \./final")


def test_a_file_instead_of_a_folder(folder):
    refused(folder / "model.safetensors", "is a file: give the folder")


def test_a_folder_without_a_model(folder):
    refused(folder.parent, r"no config.json.*did you mean .*model\?")
    for stage in ("best", "final"):
        shutil.copytree(folder, folder.parent / "runs" / "a" / "models" / stage)
    refused(folder.parent / "runs" / "a", r"no config.json.*did you mean .*models/final\?")
    (folder / "config.json").unlink()
    refused(folder, "no config.json.*save_pretrained")


def test_config_that_is_no_json(folder):
    (folder / "config.json").write_text('{"model_type": ')
    refused(folder, "config.json is not JSON|cannot be read")
    with pytest.raises(ModelLoadError, match=r"config\.json is not JSON"):
        load_format(folder)


def test_an_architecture_that_is_no_causal_model(folder):
    (folder / "config.json").write_text('{"model_type": "t5"}')
    refused(folder, "not a causal language model")
    (folder / "config.json").write_text('{"model_type": "unheard-of"}')
    refused(folder, "not a causal language model.*newer transformers")


def test_no_chat_template(folder):
    (folder / "chat_template.jinja").unlink()
    refused(folder, "no chat template.*instruct version")


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    refused(folder, "no tokenizer")


def test_broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    refused(folder, "tokenizer cannot be read")


def test_a_tokenizer_with_more_ids_than_the_model(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:200].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    edit_config(folder, vocab_size=200)
    refused(folder, "the model only 200.*do not belong together")


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "no \\*.safetensors")


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_weights_cut_short(folder, share):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: int(share * len(weights))])
    refused(folder, "corrupt or cut short")


def test_weights_of_another_shape(folder):
    edit_config(folder, hidden_size=64)
    refused(folder, "do not fit each other")


def test_missing_tensors_are_not_filled_with_random_numbers(folder):
    edit_config(folder, num_hidden_layers=2, layer_types=["full_attention"] * 2)
    refused(folder, r"11 tensors .*model\.layers\.1")


def test_dtype_and_device_are_checked(built):
    refused(built, "unknown dtype 'float8'.*float32", dtype="float8")
    refused(built, "no device 'gpu'", device="gpu")
    if not torch.cuda.is_available():
        refused(built, "no device 'cuda'.*cpu", device="cuda")


def test_the_hub_cannot_be_reached(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused("nobody/nothing", "no folder nobody/nothing here, and the hub cannot be reached .*check the path")


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_names_the_extra(built, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelLoadError, match=rf"needs {package}.*pip install 'ludus\[train\]'"):
        load_model(built)


PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def test_what_else_ends_a_turn(folder):
    """`generation_config.json` may name one id or several; a run's configuration names tokens."""
    (folder / "chat_template.jinja").write_text(PLAIN)
    vocabulary = load_model(folder).tokenizer.get_vocab()
    end, other, pad = (vocabulary[token] for token in ("<|end|>", "<|user|>", "<|pad|>"))
    for eos in (other, [other, end]):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
        assert load_model(folder).format.stop_ids == load_format(folder).stop_ids == (end, other)
    assert load_model(folder, stop_tokens=["<|pad|>"]).format.stop_ids == (end, other, pad)
    refused(folder, "engine.stop_tokens: .* has no token '<|fin|>': name one", stop_tokens=["<|fin|>"])


def test_a_small_model_stops_where_a_run_says(built):
    loaded = load_model(built, stop_tokens=["<|user|>"])
    assert loaded.format.stop_ids == tuple(loaded.tokenizer.convert_tokens_to_ids(["<|end|>", "<|user|>"]))


def test_a_device_without_bfloat16_is_named(built, monkeypatch):
    """As far as can be told without one: torch says of a GPU before Ampere that it has them, by imitation."""
    assert models._has_bfloat16(torch, torch.device("cpu"))
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for major in (7, 8):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _, major=major: SimpleNamespace(major=major)
        )
        assert models._has_bfloat16(torch, torch.device("cuda")) == (major == 8)
    monkeypatch.setattr(models, "_has_bfloat16", lambda *_: False)
    refused(built, "cpu does not compute in bfloat16 .*: use float32", dtype="bfloat16")
    assert load_model(built).model.dtype == torch.float32


def resize(folder, rows):
    loaded = load_model(folder)
    loaded.model.resize_token_embeddings(rows)
    with quiet_transformers():
        loaded.model.save_pretrained(folder)
    return len(loaded.tokenizer)


@pytest.mark.parametrize("template", [None, PLAIN])
def test_a_padded_vocabulary_is_read(folder, template):
    known = resize(folder, 1024)
    if template:
        (folder / "chat_template.jinja").write_text(template)
    form = load_model(folder).format
    (a,) = load_model(folder).tokenizer.encode("7", add_special_tokens=False)
    assert form.decode([a, known, 1023]) == ["7", "\ufffd", "\ufffd"]
    assert b"".join(form.pieces([a, known])).decode() == "7\ufffd"
    assert form.parse([a, known])["content"] == "7\ufffd"


def test_a_vocabulary_of_another_model(folder):
    resize(folder, 4096)
    refused(folder, "the model has 4096 ids, the tokenizer only .* more than padding: .* own tokenizer")
