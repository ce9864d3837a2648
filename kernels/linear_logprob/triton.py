"""Launches of the fused kernels of `triton_kernels`, and the matrix products around them.

    forward    a program takes a block of rows and one split of the vocabulary; tile after tile, it multiplies
               hidden weightᵀ and reduces that, in registers, to (maximum, sum, spread) for every row
    finish     one program a row: the target's logit, the splits' states put together, the outputs
    backward   cuBLAS computes logits again, a chunk at a time; a kernel turns a chunk into its gradient dx,
               in 16 bits; cuBLAS products make the gradients of hidden and weight from it

Chunks are of vocabulary entries if the weight is trained, so that each row of its gradient is written once,
and of rows if it is frozen, so that the same holds for hidden's gradient. The target is left out of a tile's
state, as in `distribution`.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation, processors, warp_size
from ludus.kernels.distribution import Gradients, RowSums, coefficients
from ludus.kernels.linear_logprob.problem import Problem
from ludus.kernels.linear_logprob.triton_kernels import backward_kernel, finish_kernel, forward_kernel


@dataclass(frozen=True)
class Tile:
    """Of logits: what a program makes at a time, and how."""

    rows: int
    vocabulary: int
    hidden_size: int
    """How much of H a step of the product takes."""
    warps: int
    stages: int
    """How many steps are in shared memory: one is multiplied while the others load."""


def tile_for(descriptors: bool, warp_size: int, generation: int = 9) -> Tile:
    """By descriptor, a step reads 48 KiB for 4.2 MFLOP, and sums are 128 registers a thread. On generation 10
    (sm_100), sums come from tensor memory when a tile is done, and only half as many fit without spills."""
    if descriptors:
        vocabulary = 256 if generation < 10 else 128
        return Tile(rows=128, vocabulary=vocabulary, hidden_size=64, warps=8, stages=4)
    return Tile(rows=128, vocabulary=128, hidden_size=64, warps=8, stages=3 if warp_size == 32 else 2)


GROUP_BYTES = 16 * 2**20
"""Of hidden states that programs side by side share; with as much of the weight, that is in the L2 cache."""

STATE_BYTES = 32 * 2**20
"""At most, of the states of the splits."""

CHUNK_BYTES = {"vocabulary": 128 * 2**20, "rows": 512 * 2**20}
"""Of a chunk of float32 logits in the backward. Chunks of rows must be large for the products to be fast."""

FAR = 2**23
"""Elements between rows; times the rows of a tile, this is less than 2³¹."""

BLOCK = 2048
"""Elements that a program of the backward takes."""


def forward(problem: Problem, differentiable: bool) -> tuple[RowSums, Tensor, None]:
    """(sums, lse [M], nothing kept), float32; `peak` is in powers of two here."""
    hidden, weight = _side_by_side(problem.hidden), _side_by_side(problem.weight)
    bias = None if problem.bias is None else problem.bias.contiguous()
    targets, temperature_M, softcap = problem.targets, problem.temperature_M, problem.softcap
    rows, vocabulary, hidden_size = problem.rows, problem.vocabulary, problem.hidden_size
    logprobs, entropy, lse, peak, rest = (temperature_M.new_empty(rows) for _ in range(5))
    sums = RowSums(logprobs, entropy, peak, rest)
    if not rows:
        return sums, lse, None
    descriptors = _has_descriptors(hidden) and _fits_descriptor(hidden) and _fits_descriptor(weight)
    tile = tile_for(descriptors, warp_size(), _generation(hidden))
    splits = _splits(tile, rows, vocabulary, processors(hidden.device))
    state = temperature_M.new_empty(splits, 3, rows)
    cap = 0.0 if softcap is None else softcap
    forward_kernel[(triton.cdiv(rows, tile.rows) * splits,)](
        _blocks(hidden, [tile.rows, tile.hidden_size]) if descriptors else hidden,
        _blocks(weight, [tile.vocabulary, tile.hidden_size]) if descriptors else weight,
        targets,
        temperature_M,
        bias,
        state,
        cap,
        rows,
        vocabulary,
        hidden_size,
        splits,
        hidden.stride(0),
        weight.stride(0),
        targets.stride(0),
        temperature_M.stride(0),
        **_constants(tile, hidden_size, hidden.element_size(), softcap, descriptors),
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    finish_kernel[(rows,)](
        hidden,
        weight,
        targets,
        temperature_M,
        bias,
        state,
        logprobs,
        entropy,
        lse,
        peak,
        rest,
        cap,
        rows,
        vocabulary,
        hidden_size,
        splits,
        hidden.stride(0),
        weight.stride(0),
        targets.stride(0),
        temperature_M.stride(0),
        **_finish_constants(splits, softcap),
        num_warps=4,
    )
    return sums, lse, None


def backward(
    problem: Problem, sums: RowSums, kept: None, gradients: Gradients, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of hidden, weight and bias in their dtypes, of those that are wanted."""
    hidden, weight, bias, softcap = problem.hidden, problem.weight, problem.bias, problem.softcap
    targets, temperature_M, grad_entropy = problem.targets, problem.temperature_M, gradients[1]
    constant, at_target = coefficients(sums, gradients)
    want_hidden, want_weight, want_bias = wanted
    by_vocabulary = want_weight or want_bias
    grad_hidden = None
    if want_hidden:
        kind = torch.float32 if by_vocabulary else hidden.dtype
        grad_hidden = torch.zeros(hidden.shape, dtype=kind, device=hidden.device)
    grad_weight = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device) if want_weight else None
    grad_bias = (
        None
        if bias is None or not want_bias
        else torch.empty_like(bias, memory_format=torch.contiguous_format)
    )
    for part, piece in _chunks(problem.rows, problem.vocabulary, by_vocabulary):
        h, w = hidden[part], weight[piece]
        x = _product(h, w.t())
        pitch = triton.cdiv(len(w), 8) * 8
        dx = torch.empty((len(h), pitch), dtype=hidden.dtype, device=hidden.device)[:, : len(w)]
        backward_kernel[(len(h), triton.cdiv(len(w), BLOCK))](
            x,
            dx,
            targets[part],
            temperature_M[part],
            None if bias is None else bias[piece].contiguous(),
            sums.peak[part],
            sums.rest[part],
            constant[part],
            at_target[part],
            None if grad_entropy is None else grad_entropy[part],
            0.0 if softcap is None else softcap,
            len(w),
            piece.start,
            x.stride(0),
            pitch,
            targets.stride(0),
            temperature_M.stride(0),
            1 if grad_entropy is None else grad_entropy.stride(0),
            HAS_SOFTCAP=softcap is not None,
            BLOCK=BLOCK,
            num_warps=8,
        )
        if grad_hidden is not None and by_vocabulary:
            _add_product(grad_hidden, dx, w)
        elif grad_hidden is not None:
            torch.mm(dx, w, out=grad_hidden[part])
        if grad_weight is not None:
            torch.mm(dx.t(), h, out=grad_weight[piece])
        if grad_bias is not None:
            grad_bias[piece] = dx.sum(0, dtype=torch.float32)
    return None if grad_hidden is None else grad_hidden.to(hidden.dtype), grad_weight, grad_bias


def _chunks(rows: int, vocabulary: int, by_vocabulary: bool) -> list[tuple[slice, slice]]:
    """Which rows and vocabulary entries are recomputed together: all of one, and some of the other."""
    if not rows:
        return [(slice(0, 0), slice(0, vocabulary))]
    if by_vocabulary:
        size = max(512, CHUNK_BYTES["vocabulary"] // (4 * rows) // 512 * 512)
        return [
            (slice(0, rows), slice(start, min(start + size, vocabulary)))
            for start in range(0, vocabulary, size)
        ]
    size = max(128, CHUNK_BYTES["rows"] // (4 * vocabulary) // 128 * 128)
    return [(slice(start, min(start + size, rows)), slice(0, vocabulary)) for start in range(0, rows, size)]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a b in float32: rounded to 16 bits, logits would lose the digits that the gradient is made of."""
    if a.is_cuda and torch.version.hip is None:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, in float32."""
    if a.is_cuda and torch.version.hip is None:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(a.float(), b.float())


def _splits(tile: Tile, rows: int, vocabulary: int, processors: int) -> int:
    """Into how many parts the vocabulary is split, so that processors finish together."""
    blocks, tiles = triton.cdiv(rows, tile.rows), triton.cdiv(vocabulary, tile.vocabulary)
    most = max(1, min(tiles, STATE_BYTES // (12 * rows), 4 * processors))

    def seconds(splits: int) -> float:
        """In tiles; a program takes half a tile to begin and end."""
        return triton.cdiv(blocks * splits, processors) * (triton.cdiv(tiles, splits) + 0.5)

    return min(range(1, most + 1), key=seconds)


def _has_descriptors(tensor: Tensor) -> bool:
    """Whether there is hardware that copies tiles by descriptor (TMA); the interpreter has it, too."""
    if tensor.is_cuda:
        return torch.version.hip is None and _generation(tensor) >= 9
    return True


def _generation(tensor: Tensor) -> int:
    """The major compute capability of the tensor's GPU; 9 in the interpreter."""
    return torch.cuda.get_device_capability(tensor.device)[0] if tensor.is_cuda else 9


def _fits_descriptor(tensor: Tensor) -> bool:
    return tensor.data_ptr() % 16 == 0 and tensor.stride(0) * tensor.element_size() % 16 == 0


def _blocks(tensor: Tensor, shape: list[int]) -> TensorDescriptor:
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), shape)


def _side_by_side(tensor: Tensor) -> Tensor:
    """A copy only if rows are not contiguous, overlap, or are so far apart that offsets within a tile do not
    fit in 32 bits."""
    fine = tensor.stride(1) == 1 and tensor.shape[1] <= tensor.stride(0) < FAR
    return tensor if fine else tensor.contiguous()


def _constants(
    tile: Tile, hidden_size: int, itemsize: int, softcap: float | None, descriptors: bool
) -> dict[str, Any]:
    return {
        "DESCRIPTORS": descriptors,
        "EVEN_HIDDEN": hidden_size % tile.hidden_size == 0,
        "HAS_SOFTCAP": softcap is not None,
        "GROUP": max(1, GROUP_BYTES // (tile.rows * hidden_size * itemsize)),
        "BLOCK_ROWS": tile.rows,
        "BLOCK_VOCABULARY": tile.vocabulary,
        "BLOCK_HIDDEN": tile.hidden_size,
    }


def _finish_constants(splits: int, softcap: float | None) -> dict[str, Any]:
    return {"HAS_SOFTCAP": softcap is not None, "SPLITS": triton.next_power_of_2(splits), "BLOCK": 1024}


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: bfloat16, a small and a large model, vocabularies that tiles fill and do not; by
    descriptor where there are any, by pointer everywhere; all that is optional, and none of it."""
    made = []
    half, single = torch.bfloat16, torch.float32
    for hidden_size, vocabulary, optional in itertools.product(
        (896, 4096), (151_936, 151_669), (False, True)
    ):
        softcap, rows, splits = 30.0 if optional else None, 8192, 33
        shapes = {
            "softcap": 30.0 if optional else 0.0,
            "rows": rows,
            "vocabulary": vocabulary,
            "hidden_size": hidden_size,
            "splits": splits,
        }
        strides = {
            "stride_hidden": hidden_size,
            "stride_weight": hidden_size,
            "stride_target": 1,
            "stride_temperature": 0,
        }
        rest = {"targets_ptr": torch.int64, "temperature_ptr": single, "bias_ptr": half if optional else None}
        name = f"H = {hidden_size}, V = {vocabulary}{', bias, softcap' if optional else ''}"
        # By descriptor or not, and for which target alone.
        kinds: list[tuple[bool, str | None]] = [(False, None)]
        if warp_size == 32:
            kinds += [(True, "sm_90"), (True, "sm_100")]
        for descriptors, target in kinds:
            tile = tile_for(descriptors, warp_size, 10 if target == "sm_100" else 9)
            made.append(
                Specialisation(
                    name=name + (", descriptors" if descriptors else ""),
                    kernel=forward_kernel,
                    arguments={
                        "hidden": _descriptor_type(half, tile.rows, tile.hidden_size)
                        if descriptors
                        else half,
                        "weight": _descriptor_type(half, tile.vocabulary, tile.hidden_size)
                        if descriptors
                        else half,
                    }
                    | rest
                    | {"state_ptr": single}
                    | shapes
                    | strides,
                    constants=_constants(tile, hidden_size, half.itemsize, softcap, descriptors),
                    num_warps=tile.warps,
                    num_stages=tile.stages,
                    matrix=True,
                    target=target,
                )
            )
        outputs = ("logprobs_ptr", "entropy_ptr", "lse_ptr", "peak_ptr", "rest_ptr")
        made.append(
            Specialisation(
                name=name,
                kernel=finish_kernel,
                arguments={"hidden_ptr": half, "weight_ptr": half}
                | rest
                | {"state_ptr": single}
                | dict.fromkeys(outputs, single)
                | shapes
                | strides,
                constants=_finish_constants(splits, softcap),
            )
        )
        rows_of = ("peak_ptr", "rest_ptr", "constant_ptr", "at_target_ptr")
        made.append(
            Specialisation(
                name=name,
                kernel=backward_kernel,
                arguments={"x_ptr": single, "dx_ptr": half}
                | rest
                | dict.fromkeys(rows_of, single)
                | {
                    "grad_entropy_ptr": single if optional else None,
                    "softcap": shapes["softcap"],
                    "vocabulary": vocabulary,
                    "first_word": 0,
                    "stride_x": vocabulary,
                    "stride_dx": triton.cdiv(vocabulary, 8) * 8,
                    "stride_target": 1,
                    "stride_temperature": 0,
                    "stride_grad_entropy": 1,
                },
                constants={"HAS_SOFTCAP": optional, "BLOCK": BLOCK},
                num_warps=8,
                wide_loads=vocabulary % 16 == 0,
            )
        )
    return made


def _descriptor_type(dtype: torch.dtype, *block: int) -> str:
    return f"tensordesc<{ELEMENT_TYPES[dtype]}[{','.join(map(str, block))}]>"
