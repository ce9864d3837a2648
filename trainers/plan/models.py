"""A run's models without numbers: the shapes of their weights, as the code that loads and adapts them makes
them."""

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from ludus.agents.adapters.files import layers_meant, read_adapter_config
from ludus.agents.adapters.lora import ALL_LINEAR, add_adapter
from ludus.agents.families import Reach
from ludus.agents.models import (
    LoadedModel,
    auto_model,
    find_model,
    format_for,
    load_tokenizer,
    quiet_transformers,
)
from ludus.agents.picture_ids import FAMILIES
from ludus.agents.sight import let_see, reader_of
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.models.forward import Way, way_of
from ludus.trainers.models.head import scale_and_softcap
from ludus.trainers.plan.ledger import Ledger

_PACKED = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers that keep nothing of a row but keys and values."""


@dataclass(frozen=True)
class Source:
    """Where a model is described."""

    folder: Path
    base: Path
    """Of an adapter; else the folder itself."""

    @property
    def file_bytes(self) -> int:
        """Of the weights on the disk."""
        return sum(file.stat().st_size for file in self.base.glob("*.safetensors"))


def source_of(path: str | Path) -> Source:
    """
    Raises:
        ModelLoadError: there is no such model.
    """
    return Source(*find_model(path))


def without_numbers(
    source: Source, config: RunConfig, ledger: Ledger, parts: tuple[str, str] = ("weights", "adapter")
) -> LoadedModel:
    """The policy, with the adapter of `[adapter]` or its own.

    Args:
        parts: As what its bytes are counted, and those of the adapter.

    Raises:
        ModelLoadError: as `load_model`.
        ConfigError: a plan does not cover such models.
        AdapterError: the model has no layer that `[adapter]` names.
    """
    tokenizer = load_tokenizer(source.folder)
    with ledger, quiet_transformers():
        with ledger.counting(parts[0]):
            settings = AutoConfig.from_pretrained(source.base, local_files_only=True)
            dtype = getattr(torch, config.model.dtype)
            kind = auto_model(transformers, settings.model_type)
            model: PreTrainedModel = kind.from_config(settings, dtype=dtype).eval()
        _refuse_unpacked(model)
        model.config.name_or_path = str(source.base)
        with ledger.counting(parts[1]):
            _adapt(model, source, config)
    if settings.model_type in FAMILIES:
        let_see(model, tokenizer, source.base)
    text = settings.get_text_config()
    most = getattr(text, "max_position_embeddings", None)
    limit = Reach(most, f"{type(model).__name__} was built for {most} positions")
    way_of.assume(model, Way(packs=True, reach=limit))
    scale_and_softcap.assume(model, (1.0, getattr(text, "final_logit_softcapping", None)))
    form = format_for(model, tokenizer, config.engine.stop_tokens, config.run.day)
    return LoadedModel(model, tokenizer, form)


def beside(model: PreTrainedModel) -> PreTrainedModel:
    """Another model like this one, which shares what is frozen; inside a ledger."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    with warnings.catch_warnings():  # about the addresses of tensors that have none
        warnings.simplefilter("ignore")
        kept = (*frozen, *model.buffers(), reader_of(model))
        other = copy.deepcopy(model, {id(shared): shared for shared in kept})
    way_of.assume(other, way_of(model))
    scale_and_softcap.assume(other, scale_and_softcap(model))
    return other


def parameter_bytes(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _refuse_unpacked(model: PreTrainedModel) -> None:
    """Whether rows are packed is found by trying, which takes numbers; its class tells nearly as well."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if model._is_stateful or not model._supports_attention_backend or kinds - _PACKED:
        raise ConfigError(
            f"{type(model).__name__}: models computed by their own forward and cache are not covered "
            "by a plan; try `ludus train` with a few steps"
        )


def _adapt(model: PreTrainedModel, source: Source, config: RunConfig) -> None:
    if source.folder != source.base:
        about = read_adapter_config(source.folder)
        add_adapter(model, about.get("r", 8), 1.0, layers_meant(model, about) or [ALL_LINEAR])
    elif config.adapter is not None:
        section = config.adapter
        add_adapter(model, section.rank, section.scaling, section.targets, section.init, config.run.seed)
