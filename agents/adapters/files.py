"""An adapter's folder, in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`."""

import copy
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.agents.adapters.lora import (
    ALL_LINEAR,
    TERM,
    AdapterError,
    LowRank,
    adapter_terms,
    attach,
    is_called,
    is_meant,
    linear_layers,
)
from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.models import ADAPTER_FILE, ADAPTER_WEIGHTS
from ludus.agents.quantization import is_quantized, source

N = TypeVar("N", int, float)

_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_OURS = "ludus"
"""The key of the safetensors metadata that hold what PEFT's configuration has no place for."""
_WITHOUT_EFFECT = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "eva_config",
    "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core", "peft_type",
    "peft_version", "qalora_group_size", "r", "rank_pattern", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
"""Keys of PEFT's configuration that are read here, or that change nothing about what an adapter computes."""
_STARTS = (True, False, None, "gaussian", "orthogonal", "eva", "mica")
"""Initialisations of PEFT's that leave the base's weights alone."""


def load_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Freeze a model and add the terms that a folder in PEFT's form holds.

    Raises:
        AdapterError: they cannot be read, are for another base, or compute what is not supported here.
    """
    terms = read_terms(model, folder)
    model.requires_grad_(False)
    for name, term in terms.items():
        attach(model.get_submodule(name), term)


def sharing_base(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Another model with the very weights of an adapted one's base, and the terms that a folder holds, which
    must be of the same layers.

    Raises:
        AdapterError: as `load_adapter`.
    """
    terms = read_terms(model, folder)
    assert terms.keys() == adapter_terms(model).keys(), "adapters of the same layers"
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    other = copy.deepcopy(model, {id(shared): shared for shared in (*frozen, *model.buffers())})
    for name, term in terms.items():
        setattr(other.get_submodule(name), TERM, term)  # where the hook is by now
    return other


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's adapter, and not its base, into a folder, as PEFT and vLLM read it."""
    terms = adapter_terms(model)
    matrices = {name: term.matrices() for name, term in terms.items()}
    ranks = {name: len(a_RI) for name, (a_RI, _) in matrices.items()}
    alphas = {name: _plain(terms[name].scaling * rank) for name, rank in ranks.items()}
    rank, alpha = _commonest([*ranks.values()]), _commonest([*alphas.values()])
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.config.name_or_path,
        "target_modules": _shortest(terms, linear_layers(model)),
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {re.escape(name): own for name, own in ranks.items() if own != rank},
        "alpha_pattern": {re.escape(name): own for name, own in alphas.items() if own != alpha},
        "use_rslora": False,  # in `lora_alpha`, where it is one
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    (folder / ADAPTER_FILE).write_text(json.dumps(config, indent=2), encoding="utf-8")
    tensors = {
        f"base_model.model.{name}.lora_{letter}.weight": tensor.cpu().contiguous()
        for name, pair in matrices.items()
        for letter, tensor in zip("AB", pair, strict=True)
    }
    ours = {
        "base": _base_key(model, terms),
        "start_rank": max(term.start_rank for term in terms.values()),
        "quantize": "nf4" if any(is_quantized(model.get_submodule(name)) for name in terms) else "none",
    }
    safetensors.torch.save_file(tensors, folder / ADAPTER_WEIGHTS, {_OURS: json.dumps(ours)})


def read_terms(model: PreTrainedModel, folder: Path) -> dict[str, LowRank]:
    """The terms in a folder, by the name of the layer of `model`, on its device.

    Raises:
        AdapterError: as `load_adapter`.
    """
    config = read_adapter_config(folder)
    _refuse_unsupported(config, folder)
    tensors, ours = _read_weights(folder)
    matrices: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if (found := _KEY.fullmatch(key)) is None:
            raise AdapterError(
                f"{folder}: {ADAPTER_WEIGHTS} holds {key}, and only pairs of lora_A and lora_B can be "
                "loaded; train without modules_to_save, biases and DoRA"
            )
        # In memory of its own: its alignment there decides which instructions linear algebra uses.
        matrices.setdefault(found[1], {})[found[2]] = tensor.to(torch.float32, copy=True)
    terms, layers = {}, linear_layers(model)
    for name, pair in matrices.items():
        a_RI, b_OR = pair.get("A"), pair.get("B")
        layer = layers.get(name)
        if a_RI is None or b_OR is None or a_RI.ndim != 2 or b_OR.ndim != 2 or len(a_RI) != b_OR.shape[1]:
            raise AdapterError(f"{folder}: {name} has no matching lora_A and lora_B: fetch or save it anew")
        if not (a_RI.isfinite().all() and b_OR.isfinite().all()):
            raise AdapterError(
                f"{folder}: {name} has numbers that are NaN or infinite: its training diverged, or "
                f"{ADAPTER_WEIGHTS} is damaged; take an earlier one, or fetch it anew"
            )
        if len(a_RI) != (rank := _rank(config, name)):
            raise AdapterError(
                f"{folder}: {ADAPTER_FILE} gives {name} rank {rank}, but its matrices have rank {len(a_RI)}: "
                "the two files are of different adapters; fetch or save it anew"
            )
        if layer is None or (layer.out_features, layer.in_features) != (len(b_OR), a_RI.shape[1]):
            what = (
                f"has no linear layer {name} that could be adapted"
                if layer is None
                else f"has a layer {name} of {layer.in_features} by {layer.out_features}, not "
                f"{a_RI.shape[1]} by {len(b_OR)}"
            )
            raise AdapterError(
                f"{folder} is an adapter for another base: {model.config.name_or_path} {what}; name the one "
                f"that it was trained on in {ADAPTER_FILE}"
            )
        terms[name] = _term(a_RI, b_OR, _scaling(config, name, len(a_RI)), ours.get("start_rank", 0)).to(
            layer.weight.device
        )
    if not terms:
        raise AdapterError(f"{folder}: {ADAPTER_WEIGHTS} is empty: fetch or save it anew")
    meant = _meant(config, layers) or terms.keys()
    if surplus := sorted(terms.keys() - meant):
        raise AdapterError(
            f"{folder}: {ADAPTER_WEIGHTS} has matrices for {surplus[0]}, which the target_modules of "
            f"{ADAPTER_FILE} do not mean: the two files are of different adapters; fetch or save it anew"
        )
    if absent := sorted(meant - terms.keys()):
        raise AdapterError(
            f"{folder} has nothing for {absent[0]} of {model.config.name_or_path}, which its target_modules "
            f"mean: it is for another base, or a part of {ADAPTER_WEIGHTS} is missing; name the base that it "
            "was trained on, or fetch it anew"
        )
    now, then = _base_key(model, terms), ours.get("base", "")
    if then and then.partition(":")[0] == now.partition(":")[0] and then != now:
        raise AdapterError(
            f"{folder} was trained on other weights than {model.config.name_or_path} has now: that model was "
            "replaced or trained on; put the one back that the adapter was trained on"
        )
    return terms


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """PEFT's configuration of an adapter.

    Raises:
        AdapterError: it is not one.
    """
    file = folder / ADAPTER_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config["base_model_name_or_path"], str):
            raise TypeError
        _rank(config, ""), _meant(config, [""])  # numbers and patterns
        if not math.isfinite(_of_layer(config, "alpha_pattern", "lora_alpha", "")):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, re.error) as error:
        raise AdapterError(
            f"{file} is not an adapter's configuration, which names its base as base_model_name_or_path "
            f"({type(error).__name__}): fetch or save it anew"
        ) from error
    return dict(config)


def layers_meant(model: PreTrainedModel, config: Mapping[str, Any]) -> list[str]:
    """The names of the layers that a configuration of PEFT's adapts; none where it leaves some out by other
    keys than `target_modules`."""
    return sorted(_meant(config, linear_layers(model)))


def base_quantization(folder: Path) -> str:
    """How the base was quantised that an adapter was trained on: `none` or `nf4`, as far as it says.

    Raises:
        AdapterError: as `load_adapter`.
    """
    found: str = _read_ours(folder).get("quantize", "none")
    return found


def _term(a_RI: Tensor, b_OR: Tensor, scaling: float, start_rank: int) -> LowRank:
    """The inverse of `LowRank.matrices`."""
    trained = len(a_RI) - start_rank
    if not start_rank:
        return LowRank(a_RI, b_OR, scaling)
    start = a_RI[trained:].clone(), -b_OR[:, trained:]
    return LowRank(a_RI[:trained].clone(), b_OR[:, :trained].clone(), scaling, start)


def _shortest(adapted: Iterable[str], layers: Iterable[str]) -> list[str]:
    """The last parts of the names where these mean the adapted layers and no others, else the whole names."""
    names = {*adapted}
    last = sorted({name.rpartition(".")[2] for name in names})
    meant = {name for name in layers if any(is_called(name, target) for target in last)}
    return last if meant == names else sorted(names)


def _commonest(numbers: Sequence[N]) -> N:
    return max(set(numbers), key=numbers.count)


def _plain(number: float) -> float:
    """An integer where it is one, as PEFT writes it."""
    return int(number) if number == int(number) else number


def _scaling(config: Mapping[str, Any], name: str, rank: int) -> float:
    alpha = _of_layer(config, "alpha_pattern", "lora_alpha", name)
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _rank(config: Mapping[str, Any], name: str) -> int:
    return int(_of_layer(config, "rank_pattern", "r", name))


def _of_layer(config: Mapping[str, Any], patterns: str, key: str, name: str) -> float:
    """A layer's own number, or that of all; 8 is PEFT's default."""
    own = (config.get(patterns) or {}).items()
    matching = (number for pattern, number in own if re.fullmatch(rf"(.*\.)?({pattern})", name))
    return float(next(matching, config.get(key, 8)))


def _meant(config: Mapping[str, Any], layers: Iterable[str]) -> set[str]:
    """As `layers_meant`."""
    targets = config.get("target_modules")
    if not targets or any(config.get(key) for key in ("exclude_modules", "layers_to_transform")):
        return set()
    if isinstance(targets, str) and targets != ALL_LINEAR:
        return {name for name in layers if re.fullmatch(targets, name)}
    names = [targets] if isinstance(targets, str) else targets
    return {name for name in layers if is_meant(name, names)}


def _refuse_unsupported(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise AdapterError(
            f"{folder} is an adapter of type {config.get('peft_type')}, and only LORA can be loaded: merge "
            "it with PEFT (merge_and_unload) and load the whole model"
        )
    strange = [key for key, value in config.items() if value and key not in _WITHOUT_EFFECT]
    strange += ["bias"] * (config.get("bias", "none") != "none")
    if strange:
        raise AdapterError(
            f"{folder} has {strange[0]} = {json.dumps(config[strange[0]])}, which makes its layers compute "
            "more than the low-rank term: merge it with PEFT (merge_and_unload) and load the whole model"
        )
    if (start := config.get("init_lora_weights", True)) not in _STARTS:
        raise AdapterError(
            f'{folder} began as "{start}", for which PEFT changed the base\'s weights, so it does not fit '
            "the base that it names: save it with path_initial_model_for_weight_conversion"
        )


def _read_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, and what `save_adapter` wrote beside them."""
    return safetensors.torch.load_file(folder / ADAPTER_WEIGHTS), _read_ours(folder)


def _read_ours(folder: Path) -> dict[str, Any]:
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise AdapterError(f"{folder} has no {ADAPTER_WEIGHTS}: save it with PEFT's save_pretrained")
    try:
        with safetensors.safe_open(file, "pt") as opened:
            ours: dict[str, Any] = json.loads((opened.metadata() or {}).get(_OURS, "{}"))
    except (safetensors.SafetensorError, ValueError) as error:
        raise AdapterError(f"{file} is corrupt or cut short ({error}): fetch or save it anew") from error
    return ours


def _base_key(model: PreTrainedModel, adapted: Iterable[str]) -> str:
    """The types and a fingerprint of the weights that the adapted layers were made of."""
    weights = [(name, source(model.get_submodule(name))) for name in sorted(adapted)]
    dtypes = sorted({str(weight.dtype).removeprefix("torch.") for _, weight in weights})
    return f"{'+'.join(dtypes)}:{weights_fingerprint(weights):016x}"
