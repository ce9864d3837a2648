"""A base and its adapter as one model."""

import json
from pathlib import Path

from ludus.agents.adapters.lora import AdapterError, adapter_terms, linear_layers
from ludus.agents.models import DTYPES, adapter_base, load_model, quiet_transformers, writing_model
from ludus.agents.quantization import is_quantized, whole_layer, whole_weight
from ludus.agents.sight import save_reader


def merge_adapter(path_or_name: str | Path, target: Path) -> None:
    """Write base and adapter as one model in `transformers`' form, in the type that the base is stored in. A
    base that was quantised for the adapter is written as the adapter knows it, each weight rounded once.

    Raises:
        ModelLoadError: there is no adapter at that path, it cannot be loaded, or the folder cannot be
            written to.
        AdapterError: the folder has something in it.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise AdapterError(f"{target} has something in it, which would be overwritten: name a new folder")
    base = adapter_base(path_or_name)
    if base is None:
        raise AdapterError(f"{path_or_name} is a whole model, not an adapter: there is nothing to merge")
    with writing_model(target) as scratch:
        merged = load_model(path_or_name, _stored_dtype(base))
        terms = adapter_terms(merged.model)
        for name, layer in linear_layers(merged.model).items():
            if name in terms or is_quantized(layer):
                delta_OI = terms[name].delta_OI() if name in terms else 0.0
                merged.model.set_submodule(name, whole_layer(layer, whole_weight(layer) + delta_OI))
        with quiet_transformers():
            merged.model.save_pretrained(scratch)
            save_reader(merged.model, scratch)
            merged.tokenizer.save_pretrained(scratch)


def _stored_dtype(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dtype = str(config.get("dtype", config.get("torch_dtype")))
    return dtype if dtype in DTYPES else DTYPES[0]
