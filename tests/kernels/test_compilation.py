"""The limits on ahead-of-time compilation: they must be able to fail."""

import importlib.util
from pathlib import Path

import pytest
import torch

from .conftest import INTERPRETED

if INTERPRETED:
    pytest.skip("the interpreter does not compile", allow_module_level=True)

triton = pytest.importorskip("triton", reason="needs triton")
import triton.language as tl  # noqa: E402

from ludus.kernels.compilation import Compiled, Specialisation, compile_for  # noqa: E402


def gates():
    path = Path(__file__).resolve().parents[2] / ".ci" / "compile_kernels.py"
    module_spec = importlib.util.spec_from_file_location("compile_kernels", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


@triton.jit
def copy_kernel(x_ptr, y_ptr, count, step, SIZE: tl.constexpr):
    place = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(x_ptr + place * step, mask=place < count)
    tl.store(y_ptr + place, x, mask=place < count)


def copy(count, step=1, size=1024, **settings):
    arguments = {"x_ptr": torch.bfloat16, "y_ptr": torch.bfloat16, "count": count, "step": step}
    return Specialisation("test", copy_kernel, arguments, {"SIZE": size}, num_warps=4, **settings)


@triton.jit
def crowded_kernel(x_ptr, y_ptr, SIZE: tl.constexpr):
    """Holds more numbers than one warp has registers for: all are needed again after their sum."""
    place = tl.arange(0, SIZE)
    x = tl.load(x_ptr + place)
    tl.store(y_ptr + place, x / tl.sum(x))


def test_a_clean_kernel_passes():
    specialisation = copy(4096, wide_loads=True)
    compiled = compile_for("sm_90", specialisation)
    assert compiled.spills == compiled.stack_bytes == 0
    assert compiled.instructions["LDG.E.128"] > 0
    assert gates().violations(specialisation, compiled) == []


@pytest.mark.parametrize(("count", "step"), [(4096, 3), (4095, 1)])
def test_narrow_loads_are_seen(count, step):
    """Elements apart, and a length that 16 does not divide, whose mask splits a load."""
    specialisation = copy(count, step, wide_loads=True)
    assert gates().violations(specialisation, compile_for("sm_90", specialisation)) == ["no 16-byte load"]


def test_missing_matrix_instructions_are_seen():
    specialisation = copy(4096, matrix=True)
    assert gates().violations(specialisation, compile_for("sm_90", specialisation)) == ["no HGMMA"]


@pytest.mark.parametrize(
    ("target", "size"), [("sm_90", 16_384), pytest.param("gfx942", 32_768, marks=pytest.mark.slow)]
)
def test_spills_are_seen(target, size):
    arguments = {"x_ptr": torch.float32, "y_ptr": torch.float32}
    specialisation = Specialisation("test", crowded_kernel, arguments, {"SIZE": size}, num_warps=1)
    compiled = compile_for(target, specialisation)
    assert compiled.spills > 0
    assert gates().violations(specialisation, compiled) == [f"{compiled.spills} spills"]


def test_amd_is_held_to_spills_alone():
    specialisation = copy(4096, wide_loads=True, matrix=True)
    compiled = Compiled("gfx942", registers=8, stack_bytes=0, spills=0, shared_bytes=0)
    assert gates().violations(specialisation, compiled) == []


def test_a_specialisation_that_is_not_the_kernels_is_named():
    wrong = Specialisation("test", copy_kernel, {"x_ptr": torch.bfloat16}, {"SIZE": 16})
    with pytest.raises(ValueError, match=r"copy_kernel takes \['x_ptr', 'y_ptr', 'count', 'step', 'SIZE'\]"):
        wrong.source()
