"""The report's facts about the model, from the folder that the run saved."""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ludus.report.run.files import ReportError, Run

CONFIG, ADAPTER = "config.json", "adapter_config.json"
"""Of a model in `transformers`' form, of an adapter in PEFT's."""


@dataclass(frozen=True)
class Model:
    name: str
    shape: str
    parameters: int
    """0 if unknown."""


def describe(run: Run) -> Model:
    """The final model, else the primed one, else, if none is saved yet, the one in the configuration."""
    path = str(run.config.get("model", {}).get("path", "small"))
    name = "Small model made from scratch" if path == "small" else _name(Path(path))
    folder = saved_model(run.directory)
    if folder is None:
        return Model(name, "", 0)
    is_adapter = (folder / ADAPTER).is_file()
    try:
        settings = json.loads((folder / (ADAPTER if is_adapter else CONFIG)).read_text(encoding="utf-8"))
        count = parameters(folder)
        if is_adapter:
            return Model(name, f"LoRA adapter of rank {settings['r']}", count)
    except (ValueError, KeyError, struct.error) as error:
        raise ReportError(
            f"{folder}: its configuration or weights cannot be read ({error}); the folder is damaged, "
            "copy it back"
        ) from error
    parts = [
        settings.get("model_type", ""),
        *(
            f"{settings[key]:,} {name}"
            for key, name in (
                ("num_hidden_layers", "layers"),
                ("hidden_size", "wide"),
                ("vocab_size", "token ids"),
            )
            if key in settings
        ),
    ]
    shape = ", ".join(part for part in parts if part)
    return Model(name, shape, count)


def _name(path: Path) -> str:
    """A folder's or a hub's name; of a run's model also the run: RUN/models/final."""
    return "/".join(path.parts[-3:]) if path.parts[-2:-1] == ("models",) else path.name


def saved_model(directory: Path) -> Path | None:
    for stage in ("final", "primed", "reward"):
        folder = directory / "models" / stage
        if (folder / CONFIG).is_file() or (folder / ADAPTER).is_file():
            return folder
    return None


def parameters(folder: Path) -> int:
    """Counted from the headers of the safetensors files, without reading any weights."""
    return sum(_count(file) for file in folder.glob("*.safetensors"))


def _count(file: Path) -> int:
    """A safetensors file begins with the length of its JSON header: eight bytes, little-endian."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
