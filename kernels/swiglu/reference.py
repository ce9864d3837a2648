"""The formula, plain; takes the same arguments as the operator."""

from torch import Tensor
from torch.nn.functional import silu


def swiglu_reference(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up, silu(z) = z / (1 + exp(-z)) (Shazeer 2020, https://arxiv.org/abs/2002.05202).

    gate and up [..., I]. As in transformers, silu is rounded to the dtype of gate before the product.
    """
    return silu(gate) * up
