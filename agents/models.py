"""`load_model`: any causal language model, by folder or by hub name, ready for an engine or a trainer."""

import datetime
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ludus.agents.formats.base import ChatFormat
from ludus.agents.formats.small import SmallFormat
from ludus.agents.formats.template import TemplateFormat
from ludus.agents.picture_ids import FAMILIES
from ludus.tools.checksums import FOLDER_FILE, damaged_file, seal_folder
from ludus.tools.content import content_key
from ludus.tools.errors import UserError
from ludus.tools.files import replacing_folder
from ludus.tools.wording import first_line

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

    from ludus.agents.sight import PictureReader

DTYPES = ("float32", "bfloat16", "float16")
_WANTED_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""The files fetched from the hub: no pickles, no code."""
ADAPTER_FILE = "adapter_config.json"
"""What makes a folder that of an adapter, whose base it names."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


_MOST_PADDING = 2048
"""A matrix of embeddings is padded to a round number of rows, by some models to one of many thousands."""


class ModelLoadError(UserError):
    """A model cannot be loaded: wrong path or name, broken file, no chat template, missing package."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with everything needed to talk to it."""

    model: "PreTrainedModel"
    """In evaluation mode, so dropout is off."""
    tokenizer: "PreTrainedTokenizerBase"
    format: ChatFormat


def load_model(
    path_or_name: str | Path,
    dtype: str = "float32",
    device: str = "cpu",
    stop_tokens: Sequence[str] = (),
    day: datetime.date | None = None,
    quantize: str = "none",
    head: Literal["language", "reward"] = "language",
) -> LoadedModel:
    """Load a causal language model, its tokenizer and its chat format, printing nothing.

    Args:
        path_or_name: a folder in `transformers`' form with safetensors weights, or a LoRA adapter in PEFT's
            form, whose base is then loaded and frozen; or a Hugging Face hub name of either; or a GGUF file,
            which is unpacked into the cache once.
        dtype: of the weights: `float32`, `bfloat16` or `float16`; those of an adapter are always `float32`.
        device: where torch puts the weights: `cpu`, `cuda`, `cuda:1`, `mps`.
        stop_tokens: end a reply, too, beside those that the chat template, the tokenizer and
            `generation_config.json` name.
        day: what the chat template tells the model, if it tells the date; today if None.
        quantize: `nf4`: weights in four bits, which cannot be trained; so are those of a base that an adapter
            was trained on that way.
        head: `reward`: a sequence-classification model of one label, which gives a number in the place of
            logits. Of a language model, its layers; the label's weights are 0 then.

    Raises:
        ModelLoadError: with one line that names the thing, the likely cause and the fix.
    """
    torch, transformers = import_train_extra()
    if dtype not in DTYPES:
        raise ModelLoadError(f"unknown dtype {dtype!r}: it is one of {', '.join(DTYPES)}")
    target = _device(torch, device)
    if dtype == "bfloat16" and not _has_bfloat16(torch, target):
        raise ModelLoadError(f"{device} does not compute in bfloat16 (it is older than that): use float32")
    with quiet_transformers():
        folder = _find(path_or_name)
        name, base = _base(path_or_name, folder)
        if head == "reward" and folder != base:
            raise ModelLoadError(
                f"{path_or_name} is an adapter, and a reward model is whole: merge it with its base first "
                f"(ludus merge {path_or_name} --out FOLDER), and name that folder"
            )
        tokenizer = _load_tokenizer(transformers, _tokenizer_folder(path_or_name, folder), path_or_name)
        model = _load_weights(torch, transformers, base, name, dtype, head == "reward")
    local = Path(name).expanduser()
    model.config.name_or_path = str(local.resolve() if local.exists() else name)
    for written in {folder, base}:
        _refuse_damaged(written)
    if folder != base:
        from ludus.agents.adapters.files import base_quantization, load_adapter

        quantize = base_quantization(folder) if quantize == "none" else quantize
    if quantize != "none":
        from ludus.agents.quantization import quantize as quantize_model

        quantize_model(model, target)
    if folder != base:
        load_adapter(model, folder)
    known = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        raise ModelLoadError(
            f"{path_or_name}: the tokenizer has {len(tokenizer)} ids, the model only {known}: they do not "
            "belong together; use the model's own tokenizer"
        )
    if known - len(tokenizer) > max(_MOST_PADDING, known // 10):
        raise ModelLoadError(
            f"{path_or_name}: the model has {known} ids, the tokenizer only {len(tokenizer)}, which is more "
            "than padding: they do not belong together; use the model's own tokenizer"
        )
    model = model.to(target).eval()
    if model.config.model_type in FAMILIES:
        from ludus.agents.sight import let_see

        let_see(model, tokenizer, base)
    return LoadedModel(model, tokenizer, format_for(model, tokenizer, stop_tokens, day))


def adapter_base(path_or_name: str | Path) -> Path | None:
    """The folder of an adapter's base; None for a model that is whole.

    Raises:
        ModelLoadError: as `load_model`.
    """
    folder, base = find_model(path_or_name)
    return base if base != folder else None


def find_model(path_or_name: str | Path) -> tuple[Path, Path]:
    """The folder of a model or adapter, and that of its base: the same where the model is whole.

    Raises:
        ModelLoadError: as `load_model`.
    """
    import_train_extra()
    with quiet_transformers():
        folder = _find(path_or_name)
        return folder, _base(path_or_name, folder)[1]


def auto_model(transformers: Any, model_type: str | None) -> Any:
    """What makes models of a type: `AutoModelForCausalLM`, or of families that see its like with pictures."""
    sees = model_type in FAMILIES
    return transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM


def load_format(path_or_name: str | Path) -> ChatFormat:
    """Only a model's chat format, without its weights: enough to read its replies.

    Raises:
        ModelLoadError: as `load_model`.
    """
    _, transformers = import_train_extra()
    with quiet_transformers():
        found = _find(path_or_name)
        name, base = _base(path_or_name, found)
        sees = _read_config(base, name).get("model_type") in FAMILIES
        folder = _tokenizer_folder(path_or_name, found)
        tokenizer = _load_tokenizer(transformers, folder, path_or_name)
        generation = None
        if (folder / "generation_config.json").is_file():
            generation = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
    return format_of(tokenizer, generation, sees=sees)


def load_tokenizer(path_or_name: str | Path) -> Any:
    """Only a model's tokenizer.

    Raises:
        ModelLoadError: as `load_model`.
    """
    _, transformers = import_train_extra()
    with quiet_transformers():
        folder = _tokenizer_folder(path_or_name, _find(path_or_name))
        return _load_tokenizer(transformers, folder, path_or_name)


def count_words(tokenizer: Any) -> int:
    """One more than a tokenizer's largest id; a model may have more, where its matrices were padded."""
    return 1 + max(tokenizer.get_vocab().values())


def tokenizer_key(tokenizer: Any) -> str:
    """Tells tokenizers apart by what their ids mean and by their chat template."""
    return f"{content_key([tokenizer.get_vocab(), tokenizer.chat_template]):016x}"


def format_for(
    model: Any, tokenizer: Any, stop_tokens: Sequence[str] = (), day: datetime.date | None = None
) -> ChatFormat:
    """`format_of` a loaded model, with pictures where it sees."""
    from ludus.agents.sight import reader_of

    generation = getattr(model, "generation_config", None)  # what only classifies has none
    return format_of(tokenizer, generation, stop_tokens, day, reader_of(model))


def format_of(
    tokenizer: Any,
    generation: "GenerationConfig | None" = None,
    stop_tokens: Sequence[str] = (),
    day: datetime.date | None = None,
    pictures: "PictureReader | None" = None,
    sees: bool = False,
) -> ChatFormat:
    """The chat format of a model with this tokenizer.

    Args:
        generation: the model's; it may name further ids that end a turn.
        stop_tokens: as in `load_model`.
        day: as there.
        pictures: how the model reads pictures, if it does.
        sees: as of `TemplateFormat`.

    Raises:
        FormatError: there is none, or one that cannot be used.
        ModelLoadError: the tokenizer lacks a stop token.
    """
    vocabulary = tokenizer.get_vocab() if stop_tokens else {}
    for token in stop_tokens:
        if token not in vocabulary:
            raise ModelLoadError(
                f"engine.stop_tokens: the model's tokenizer has no token {token!r}: name one that it has"
            )
    if SmallFormat.fits(tokenizer):
        return SmallFormat(tokenizer, [vocabulary[token] for token in stop_tokens])
    named = generation.eos_token_id if generation else None
    ends = [named] if isinstance(named, int) else list(named or ())
    # Where no file names any, some architectures have a default, which is a word in another vocabulary.
    ends = [id for id in ends if id in tokenizer.added_tokens_decoder]
    ends += [vocabulary[token] for token in stop_tokens]
    return TemplateFormat(tokenizer, ends=ends, day=day, pictures=pictures, sees=sees)


@contextmanager
def writing_model(target: Path) -> Iterator[Path]:
    """A folder to save a model and its tokenizer in; it becomes `target` once it is complete, with checksums.

    Raises:
        ModelLoadError: it cannot be written to, or there is no room.
    """
    from safetensors import SafetensorError

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(target) as scratch:
            yield scratch
            seal_folder(scratch)
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(
            f"{target} cannot be written ({first_line(error)}): make room there, check the folder's "
            "permissions, or name another one"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences progress bars and warnings of `transformers` and `huggingface_hub` inside the context."""
    import huggingface_hub.utils as hub
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_verbosity, hub_bars = hub.logging.get_verbosity(), not hub.are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)
    hub.logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    hub.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub.logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            hub.enable_progress_bars()


def import_train_extra() -> tuple[Any, Any]:
    """`torch` and `transformers`.

    Raises:
        ModelLoadError: if one of them is not installed; it names the extra.
    """
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"a language model needs {error.name}, which is not installed: pip install 'ludus[train]'"
        ) from error
    return torch, transformers


def _device(torch: Any, device: str) -> Any:
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelLoadError(
            f"no device {device!r} on this machine ({first_line(error)}): use cpu, or a torch built for it"
        ) from error
    return target


def _has_bfloat16(torch: Any, device: Any) -> bool:
    """A GPU that only imitates it, which torch would let pass, is slow, and none that kernels are compiled
    for."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            supported: bool = torch.cuda.is_bf16_supported(including_emulation=False)
            return supported
    try:
        torch.ones(1, dtype=torch.bfloat16, device=device) + 1
    except (RuntimeError, TypeError):
        return False
    return True


def _find(path_or_name: str | Path) -> Path:
    """The folder of a model or adapter; fetched from the hub if there is no such local folder."""
    folder = Path(path_or_name).expanduser()
    if folder.suffix.lower() == ".gguf" and not folder.is_dir():
        from ludus.agents.gguf import unpacked

        return unpacked(folder)
    if folder.is_file():
        raise ModelLoadError(
            f"{path_or_name} is a file: give the folder with config.json and the weights, or a .gguf file"
        )
    if not folder.is_dir():
        if isinstance(path_or_name, Path):
            raise ModelLoadError(f"no folder {path_or_name}: check the path")
        folder = _fetch(path_or_name)
    if not (folder / "config.json").is_file() and not (folder / ADAPTER_FILE).is_file():
        if (folder / ADAPTER_WEIGHTS).is_file():
            raise ModelLoadError(
                f"{path_or_name} is an adapter without {ADAPTER_FILE}: fetch or save it anew"
            )
        files = (f"{above}*/{file}" for above in ("", "models/") for file in ("config.json", ADAPTER_FILE))
        inside = sorted((path.parent for file in files for path in folder.glob(file)), key=_final_first)
        hint = f"did you mean {inside[0]}?" if inside else "give one that save_pretrained wrote"
        raise ModelLoadError(f"{path_or_name} has no config.json, so it is not a model's folder: {hint}")
    return folder


def _final_first(folder: Path) -> tuple[bool, Path]:
    """Of the models in a run's folder."""
    return folder.name != "final", folder


def _base(name: str | Path, folder: Path) -> tuple[str | Path, Path]:
    """Name and folder of an adapter's base; a model's own."""
    if not (folder / ADAPTER_FILE).is_file():
        return name, folder
    from ludus.agents.adapters.files import read_adapter_config

    base: str = read_adapter_config(folder)["base_model_name_or_path"]
    try:
        found = _find(base)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"{name} is an adapter whose base, {base}, cannot be found ({error}): put it there, or name its "
            f"place in {folder / ADAPTER_FILE}"
        ) from error
    if (found / ADAPTER_FILE).is_file():
        raise ModelLoadError(
            f"{name} is an adapter whose base, {base}, is an adapter, too: merge that one first "
            "(`ludus merge`), and name the whole model as the base"
        )
    return base, found


def _tokenizer_folder(name: str | Path, folder: Path) -> Path:
    """An adapter may have a tokenizer of its own; else its base has it."""
    has_one = any((folder / file).is_file() for file in _TOKENIZER_FILES)
    return folder if has_one else _base(name, folder)[1]


def _refuse_damaged(folder: Path) -> None:
    if (damaged := damaged_file(folder)) is not None:
        raise ModelLoadError(
            f"{damaged} is not what was written there (its checksum differs): it was damaged or edited; copy "
            f"it back or, if you meant to change it, remove {folder / FOLDER_FILE}"
        )


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    neither = f"no folder {name} here, and"
    try:
        return Path(snapshot_download(name, allow_patterns=list(_WANTED_FILES)))
    except HFValidationError as error:
        raise ModelLoadError(f"no folder {name}: check the path (hub names look like owner/name)") from error
    except GatedRepoError as error:
        raise ModelLoadError(f"{name} is gated: accept its terms on the hub, then `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise ModelLoadError(f"{neither} the hub knows no model of that name: check the spelling") from error
    except OSError as error:  # no network, no such host, an error from the server
        raise ModelLoadError(
            f"{neither} the hub cannot be reached ({first_line(error)}): check the path, or the network"
        ) from error


def _load_tokenizer(transformers: Any, folder: Path, name: str | Path) -> Any:
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelLoadError(f"{name} has no tokenizer: save it there with tokenizer.save_pretrained")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    # The errors for a broken file have no common base: the Rust side raises plain Exception.
    except Exception as error:
        raise ModelLoadError(
            f"{name}: its tokenizer cannot be read ({first_line(error)}): a file is broken or cut short; "
            "fetch or save the folder anew"
        ) from error
    if not tokenizer.chat_template:
        raise ModelLoadError(
            f"{name}: its tokenizer has no chat template (base models have none): use the instruct "
            "version, or put a chat_template.jinja into the folder"
        )
    return tokenizer


def _read_config(folder: Path, name: str | Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ModelLoadError(f"{name}: config.json is not JSON ({error}): fetch or save it anew") from error
    return config


def _load_weights(
    torch: Any, transformers: Any, folder: Path, name: str | Path, dtype: str, is_reward: bool
) -> Any:
    from safetensors import SafetensorError

    if not any(folder.glob("*.safetensors")):
        raise ModelLoadError(f"{name} has no *.safetensors: save the weights with model.save_pretrained")
    try:
        config = _read_config(folder, name)
        auto, more = auto_model(transformers, config.get("model_type")), dict[str, int]()
        if is_reward:
            _refuse_labels(config, name)
            auto, more = transformers.AutoModelForSequenceClassification, {"num_labels": 1}
        model, info = auto.from_pretrained(
            folder, dtype=getattr(torch, dtype), output_loading_info=True, local_files_only=True, **more
        )
    except SafetensorError as error:
        raise ModelLoadError(
            f"{name}: its weights are corrupt or cut short ({first_line(error)}): fetch or save them anew"
        ) from error
    except RuntimeError as error:
        raise ModelLoadError(
            f"{name}: weights and config.json do not fit each other: one of them is from another model"
        ) from error
    except (ValueError, OSError) as error:
        raise ModelLoadError(
            f"{name} is not a {_KINDS[is_reward]} model that this version of transformers can load "
            f"({first_line(error)}): use another model, or a newer transformers"
        ) from error
    missing = sorted(info["missing_keys"])
    if is_reward and not _classifies(config):
        for key in [key for key in missing if not key.startswith(f"{model.base_model_prefix}.")]:
            torch.nn.init.zeros_(model.get_parameter(key))  # a language model has no label yet
            missing.remove(key)
    # transformers would fill these with random numbers and only warn.
    if missing:
        raise ModelLoadError(
            f"{name}: {len(missing)} tensors that config.json asks for are not in the weights "
            f"({missing[0]}, …): weights and config.json are from different models"
        )
    return model


_KINDS = {False: "causal language", True: "sequence-classification"}


def _classifies(config: Mapping[str, Any]) -> bool:
    return any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ())


def _refuse_labels(config: Mapping[str, Any], name: str | Path) -> None:
    """Without labels of its own, a configuration has two."""
    labels = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    if _classifies(config) and len(labels) != 1:
        raise ModelLoadError(
            f"{name} tells {len(labels)} labels apart ({', '.join(map(str, labels.values()))}), and a reward "
            "model gives one number: name a sequence-classification model with one label (num_labels = 1), "
            "or a language model"
        )
