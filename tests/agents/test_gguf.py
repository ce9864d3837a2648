"""A GGUF file is unpacked once, and is then a model like any other; what cannot be read is one line."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from ludus.agents.formats.template import TemplateFormat
from ludus.agents.gguf import unpacked
from ludus.agents.models import ModelLoadError, adapter_base, load_model, load_tokenizer

WIDTH, INNER, HEADS = 32, 64, 2
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokens() -> list[str]:
    """The 256 bytes as byte-level BPE writes them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    written = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [written[byte] for byte in range(256)]


def write(path: Path, quantization: gguf.GGMLQuantizationType, architecture: str = "llama") -> Path:
    """A llama of one layer."""
    rng = np.random.default_rng(0)
    control = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    tokens = [*control, *byte_tokens(), "ab", "12"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(control) + [1] * (len(tokens) - len(control)))
    writer.add_token_merges(["a b", "1 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    shapes = {
        "token_embd": (len(tokens), WIDTH),
        **{f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")},
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    for name, shape in shapes.items():
        values = rng.normal(0, 0.3, shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quantize(values, quantization), raw_dtype=quantization)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ludus" / "models"


def stored(file: Path, name: str) -> torch.Tensor:
    (tensor,) = [tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == name]
    return torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type))


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0", "F16"])
def test_the_weights_are_those_of_the_file(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType[kind])
    loaded = load_model(file)
    assert capfd.readouterr() == ("", "")
    assert isinstance(loaded.format, TemplateFormat)
    layer = loaded.model.model.layers[0]
    assert torch.equal(layer.mlp.down_proj.weight, stored(file, "blk.0.ffn_down.weight").float())
    assert torch.equal(layer.self_attn.v_proj.weight, stored(file, "blk.0.attn_v.weight").float())
    assert loaded.model.dtype == torch.float32
    assert loaded.model.config.name_or_path == str(file)


def test_it_is_unpacked_once_by_its_content(tmp_path: Path, cache: Path) -> None:
    file = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0)
    folder = unpacked(file)
    made = (folder / "config.json").stat().st_mtime_ns
    assert unpacked(file.rename(tmp_path / "moved.gguf")) == folder
    assert (folder / "config.json").stat().st_mtime_ns == made
    assert unpacked(write(tmp_path / "other.gguf", gguf.GGMLQuantizationType.F16)) != folder
    assert len(list(cache.iterdir())) == 2
    assert "gguf" not in (folder / "config.json").read_text()
    assert load_tokenizer(tmp_path / "moved.gguf").chat_template == TEMPLATE
    assert adapter_base(tmp_path / "moved.gguf") is None


def refused(file: Path, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message) as error:
        load_model(file)
    assert "\n" not in str(error.value)


def test_damage_is_named(tmp_path: Path, cache: Path) -> None:
    file = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0)
    content = file.read_bytes()
    for cut in (0, 3, 100, 2000, len(content) // 2, len(content) - 40):
        file.write_bytes(content[:cut])
        refused(file, r"model\.gguf is (not a GGUF file, or damaged|cut short).*: fetch it anew")
    file.write_bytes(b"ZZZZ" + content[4:])
    refused(file, r"model\.gguf is not a GGUF file")
    refused(tmp_path / "other.gguf", r"no file .*other\.gguf: check the path")
    assert not list(cache.glob("*"))


def test_an_unknown_type_of_numbers_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0)
    written = struct.pack("<I", gguf.GGMLQuantizationType.Q8_0)
    content = file.read_bytes()
    at = content.index(b"token_embd.weight") + len("token_embd.weight") + 4 + 2 * 8
    assert content[at : at + 4] == written
    file.write_bytes(content[:at] + struct.pack("<I", 255) + content[at + 4 :])
    refused(file, r"model\.gguf is not a GGUF file, or damaged \(.*255")


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0, architecture="starcoder")
    refused(file, r"model\.gguf holds a model that cannot be unpacked \(")


def test_no_room_for_the_weights_is_one_line(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    file = write(tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0)
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(ModelLoadError, match=r"gguf-\w+ cannot be written \(.*No space left") as refused:
        load_model(file)
    assert "XDG_CACHE_HOME" in refused.value.__notes__[0]
    assert not list(cache.glob("*"))
