"""Weights in four bits: NF4 with double quantisation (QLoRA, arXiv:2305.14314), by bitsandbytes.

A quantised layer is an `nn.Linear` still, of the same name, with an adapter like any other. What its weight
is made of, beside the four bits, are buffers that are not saved: whoever hashes a model hashes all of it, and
models that share buffers share all of it.
"""

import copy
import logging
import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.models import ModelLoadError

BLOCK = 64
"""Weights that share a scale. bitsandbytes 0.50.2 gives back wrong weights on a CPU, in silence, where a row
ends within a block."""


def import_bitsandbytes() -> Any:
    """The package, without what it does while it is imported on some processors: fetch a kernel from the hub,
    if a package called `kernels` can be imported, or else complain.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    modules: dict[str, Any] = sys.modules
    before = {name: modules[name] for name in ("kernels",) if name in modules}
    modules["kernels"], logger.disabled = None, True
    try:
        import bitsandbytes
    finally:
        del modules["kernels"]
        modules.update(before)
        logger.disabled = False
    return bitsandbytes


def quantize(model: PreTrainedModel, device: torch.device) -> None:
    """Put the weights of all linear layers but the output embedding into four bits, on a device, one after
    the other. What stays as it is: layers whose inputs are no multiple of `BLOCK`, and experts that a model
    keeps in one tensor.

    Weights are rounded to bfloat16 before, so that the four bits do not depend on the type in which a model
    was loaded.

    Raises:
        ModelLoadError: there is no such layer.
    """
    head = model.get_output_embeddings()
    layers = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module is not head and module.in_features % BLOCK == 0
    }
    if not layers:
        raise ModelLoadError(
            f"{type(model).__name__} has no nn.Linear whose inputs are a multiple of {BLOCK}, so there is "
            'nothing to quantise: load it whole (model.quantize = "none")'
        )
    for name, layer in layers.items():
        model.set_submodule(name, _in_four_bits(layer, device))


def is_quantized(layer: nn.Module) -> bool:
    return hasattr(layer, "quant_state")


def numbers_in(parameter: Tensor) -> int:
    """Of how many numbers a parameter is made; two of them share a byte of a quantised one."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(state.shape.numel())


def whole_weight(layer: nn.Linear) -> Tensor:
    """What a layer multiplies by: [O, I], float32."""
    if not is_quantized(layer):
        return layer.weight.detach().float()
    state: Any = copy.copy(layer.quant_state)
    state.dtype = torch.float32
    weight: Tensor = import_bitsandbytes().functional.dequantize_4bit(layer.weight.data, state)
    return weight.reshape(layer.out_features, layer.in_features)  # one of two numbers comes out as a column


def whole_layer(layer: nn.Linear, weight_OI: Tensor) -> nn.Linear:
    """A plain layer with this weight, in the type that `layer` computes in, and with its bias."""
    dtype: Any = layer.compute_dtype if is_quantized(layer) else layer.weight.dtype
    made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
    made.weight, made.bias = nn.Parameter(weight_OI.to(dtype)), layer.bias
    return made


def source(layer: nn.Linear) -> Tensor:
    """What tells the weights apart that a layer was made of: its own or, quantised, their fingerprint. Four
    bits that another device rounded are not the same."""
    return layer.get_buffer("source") if is_quantized(layer) else layer.weight


def _in_four_bits(layer: nn.Linear, device: torch.device) -> nn.Linear:
    bitsandbytes = import_bitsandbytes().nn
    dtype, rounded_OI = layer.weight.dtype, layer.weight.detach().bfloat16()
    made: Any = bitsandbytes.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=False,
        compute_dtype=dtype,
        quant_type="nf4",
        device="meta",
    )
    weight = bitsandbytes.Params4bit(
        rounded_OI.float(), requires_grad=False, quant_type="nf4", blocksize=BLOCK
    ).to(device)
    weight.quant_state.dtype = dtype
    made.weight, made.bias, made.quant_state = weight, layer.bias, weight.quant_state
    # On processors with AVX512-BF16 a pass without gradients would repack the weight for good, and gradients
    # through the packed one are wrong.
    made.support_avx512bf16_for_cpu = False
    state, scales = weight.quant_state, weight.quant_state.state2
    parts = {
        "scales": state.absmax,
        "code": state.code,
        "offset": state.offset,
        "scales_of_scales": scales.absmax,
        "code_of_scales": scales.code,
        "source": torch.tensor([weights_fingerprint([("", rounded_OI)]) - 2**63], device=device),
    }
    for name, tensor in parts.items():
        made.register_buffer(name, tensor, persistent=False)
    quantized: nn.Linear = made.train(layer.training)
    return quantized
