"""`build_small_vision_model`: a small model that sees, made from scratch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludus.agents.formats.small import CONTROL_TOKENS, END
from ludus.agents.models import import_train_extra, quiet_transformers, writing_model
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import small_tokenizer, vocabulary

IMAGE = "<image>"
_CONTROL = (*CONTROL_TOKENS, "<fake_token_around_image>", IMAGE, "<global-img>")
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{%- for part in message['content'] -%}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}"
    "{%- endfor -%}"
    "{{ '<|end|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)


@dataclass(frozen=True, slots=True)
class SmallVisionShape:
    """The sizes of a small model that sees."""

    hidden: int = 128
    """Of the language model, and of the vision tower."""
    layers: int = 3
    vision_layers: int = 2
    heads: int = 4
    image: int = 56
    """Pixels of a picture's side: pictures are scaled so that the longer one has as many, and padded."""
    patch: int = 8
    """Pixels of the side of a patch, each of which becomes a token."""
    vocabulary: int = 512
    max_positions: int = 2048


def build_small_vision_model(
    folder: Path, specs: Sequence[EnvironmentSpec], shape: SmallVisionShape, seed: int = 0
) -> Path:
    """Make an Idefics3 with random weights, with a tokenizer made from the environments' own text.

    Args:
        folder: where it is written, in `transformers`' form.
        seed: of the weights.

    Raises:
        ModelLoadError: the folder cannot be written to, or `ludus[train]` is not installed.
    """
    torch, _ = import_train_extra()
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        LlamaConfig,
    )

    tokens = vocabulary(specs, _CONTROL, shape.vocabulary)
    tokenizer = small_tokenizer(_CONTROL, tokens, TEMPLATE, shape.max_positions)
    width = shape.hidden
    # As in `small_model`: 0.02 suits larger widths.
    shared: dict[str, Any] = {
        "hidden_size": width,
        "num_attention_heads": shape.heads,
        "initializer_range": width**-0.5,
    }
    text = LlamaConfig(
        **shared,
        vocab_size=len(tokens),
        intermediate_size=3 * width,
        num_hidden_layers=shape.layers,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=True,
        eos_token_id=tokens.index(END),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    vision = {
        **shared,
        "intermediate_size": 3 * width,
        "num_hidden_layers": shape.vision_layers,
        "image_size": shape.image,
        "patch_size": shape.patch,
    }
    config = Idefics3Config(
        text_config=text.to_dict(),
        vision_config=vision,
        scale_factor=1,
        image_token_id=tokens.index(IMAGE),
        tie_word_embeddings=True,
        eos_token_id=tokens.index(END),
        pad_token_id=tokenizer.pad_token_id,
    )
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": shape.image},
        max_image_size={"longest_edge": shape.image},
        do_image_splitting=False,
    )
    # The caller's generator is not changed.
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        model = Idefics3ForConditionalGeneration(config).to(torch.float32)
        with writing_model(folder) as scratch:
            model.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
            images.save_pretrained(scratch)
    return folder
