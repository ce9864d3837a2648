"""Compile a kernel ahead of time, for a GPU that need not be present, and inspect the result.

python .ci/compile_kernels.py        # every operator's specialisations, for every target, with its gates
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGETS = {
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}

ELEMENT_TYPES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "i1",
}

COUNTED = ("STL", "LDL", "LDG.E.128", "STG.E.128", "UTMALDG", "HGMMA", "UTCHMMA", "BAR.SYNC", "SHFL", "MUFU")
"""Prefixes of instructions that show whether a kernel was compiled as intended."""


@dataclass(frozen=True)
class Specialisation:
    """One compilation of a kernel, as the launch code would ask for it."""

    name: str
    """Distinguishes it from the kernel's other specialisations: "bf16, V = 151936"."""
    kernel: Any
    """The `triton.jit` function."""
    arguments: Mapping[str, Any]
    """In order: a torch dtype for a pointer (to a 16-byte boundary), "tensordesc<…>" for a descriptor, an
    example for a number. As at a launch, the compiler only knows of an int whether it is 1 and whether it is
    divisible by 16."""
    constants: Mapping[str, Any]
    """The `tl.constexpr` arguments."""
    num_warps: int = 4
    num_stages: int = 3
    wide_loads: bool = False
    """Memory-bound: on NVIDIA it must load 16 bytes at a time."""
    matrix: bool = False
    """Matrix-bound: on sm_90 it must use HGMMA."""
    target: str | None = None
    """The only target whose launches ask for it; None: every target with that warp size."""

    def source(self) -> ASTSource:
        signature, constants, hints = {}, dict(self.constants), {}
        for index, (name, value) in enumerate(self.arguments.items()):
            aligned = False
            match value:
                case torch.dtype():
                    signature[name], aligned = "*" + ELEMENT_TYPES[value], True
                case str():
                    signature[name] = value
                case 1:
                    signature[name], constants[name] = "constexpr", 1
                case int():
                    signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
                    aligned = value % 16 == 0
                case float():
                    signature[name] = "fp32"
                case None:
                    signature[name], constants[name] = "constexpr", None
            if aligned:
                hints[(index,)] = [["tt.divisibility", 16]]
        signature |= dict.fromkeys(self.constants, "constexpr")
        if list(signature) != self.kernel.arg_names:
            raise ValueError(
                f"{self.kernel.__name__} takes {self.kernel.arg_names}, but its specialisation names "
                f"{list(signature)}"
            )
        return ASTSource(self.kernel, signature, constants, hints)


@dataclass(frozen=True)
class Compiled:
    """The result of compiling a specialisation."""

    target: str
    registers: int
    """Per thread."""
    stack_bytes: int
    """Per thread; what spilled, and arrays that are not in registers."""
    spills: int
    """STL and LDL instructions (NVIDIA), or spilled registers (AMD)."""
    shared_bytes: int
    instructions: Mapping[str, int] = field(default_factory=dict)
    """How often each of `COUNTED` stands in the code; empty on AMD."""


def warp_size() -> int:
    """Threads in a warp of the GPUs that this torch was built for."""
    return 32 if torch.version.hip is None else 64


def processors(device: torch.device) -> int:
    """Multiprocessors of the GPU; a few in the interpreter."""
    if device.type == "cpu":
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count


def compile_for(target: str, specialisation: Specialisation) -> Compiled:
    """Raises RuntimeError if a tool of the Triton package fails, and whatever Triton raises on a kernel that
    does not compile."""
    options = {"num_warps": specialisation.num_warps, "num_stages": specialisation.num_stages}
    binary = triton.compile(specialisation.source(), target=TARGETS[target], options=options)
    if "amdgcn" in binary.asm:
        return _read_amd(target, binary)
    return _read_nvidia(target, binary)


def _read_nvidia(target: str, binary: Any) -> Compiled:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "--dump-resource-usage", file.name)
        code = _tool("nvdisasm", "-c", file.name)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump names no registers:\n{usage}")
    opcodes = Counter(re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", code, re.MULTILINE))
    counts = {name: sum(n for op, n in opcodes.items() if op.startswith(name)) for name in COUNTED}
    return Compiled(
        target,
        registers=int(found[1]),
        stack_bytes=int(found[2]),
        spills=counts["STL"] + counts["LDL"],
        shared_bytes=binary.metadata.shared,
        instructions=counts,
    )


def _read_amd(target: str, binary: Any) -> Compiled:
    code = binary.asm["amdgcn"]

    def number(key: str) -> int:
        found = re.search(rf"\.{key}:\s+(\d+)", code)
        if found is None:
            raise RuntimeError(f"the AMD assembly has no {key}")
        return int(found[1])

    return Compiled(
        target,
        registers=number("vgpr_count"),
        stack_bytes=number("private_segment_fixed_size"),
        spills=number("vgpr_spill_count") + number("sgpr_spill_count"),
        shared_bytes=binary.metadata.shared,
    )


def _tool(name: str, *arguments: str) -> str:
    """A program of the CUDA toolkit that comes with Triton."""
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed on a compiled kernel: {done.stderr.strip()}")
    return done.stdout
