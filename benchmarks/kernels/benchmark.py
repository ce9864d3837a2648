"""How an operator's script describes itself, and its run: every contestant at every shape. If a contestant
fails (no memory, a kernel that does not compile), its cell says so, and the rest continues.
"""

import argparse
import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import peers
import report
import torch
from measure import copy_rate, median_seconds, peak_bytes, product_rate, replayed_seconds
from shapes import COMPILED_TOKENS, SHAPES, Shape
from torch import Tensor

Phase = Literal["forward", "backward", "forward+backward", "replayed"]
"""`replayed`: forward and backward, from a CUDA graph."""

Problem = dict[str, Any]
"""The arguments of an operator, by name; those that require a gradient receive one."""

Contestant = Callable[..., tuple[Tensor, ...]]
"""Takes a problem's values by name and returns what to compare and differentiate."""

OURS, EAGER, COMPILED = "ludus", "eager", "torch.compile"


@dataclass(frozen=True)
class Work:
    """The least work an operator can do."""

    bytes: int = 0
    """Bytes read and written, each tensor once."""
    flops: int = 0
    """FLOP of its matrix products."""


@dataclass(frozen=True)
class Cell:
    """One contestant at one shape in one phase."""

    contestant: str
    tokens: int
    hidden: int
    phase: Phase
    seconds: float | None = None
    repetitions: int = 0
    peak_bytes: int | None = None
    """Extra memory of the whole step, results included; in the phase `backward`, that of forward and
    backward."""
    bytes_per_second: float | None = None
    flop_per_second: float | None = None
    fraction: float | None = None
    """The share of the ceiling measured in the same run: the copy's bytes, or the bare product's FLOP, per
    second."""
    error: str | None = None


@dataclass(frozen=True)
class Target:
    """A target, and how to read its value from the cells."""

    text: str
    value: Callable[["Table"], float | None]
    limit: float
    at_least: bool = False
    """If false, at most."""
    unit: float = 1.0
    """The divisor of printed figures."""


@dataclass(frozen=True)
class Table:
    cells: list[Cell]

    def cell(self, phase: Phase, contestant: str = OURS, **size: int) -> Cell | None:
        """The cell with that size; None if not measured or failed."""
        for cell in self.cells:
            same = all(getattr(cell, name) == value for name, value in size.items())
            if same and (cell.contestant, cell.phase) == (contestant, phase) and cell.error is None:
                return cell
        return None

    def value(self, name: str, phase: Phase, contestant: str = OURS, **size: int) -> float | None:
        """A field of that cell; None without one."""
        cell = self.cell(phase, contestant, **size)
        return None if cell is None else getattr(cell, name)

    def smallest(self, name: str, phases: tuple[Phase, ...], **size: int) -> float | None:
        """Our worst value over that size and these phases; None if one is missing."""
        chosen = [
            cell
            for cell in self.cells
            if cell.contestant == OURS
            and cell.phase in phases
            and all(getattr(cell, key) == value for key, value in size.items())
        ]
        values = [getattr(cell, name) for cell in chosen]
        return None if not values or None in values else min(values)


@dataclass(frozen=True)
class Benchmark:
    operator: str
    summary: str
    """What is measured, in a sentence below the table."""
    problem: Callable[[Shape, torch.device], Problem]
    ours: Contestant
    eager: Contestant
    phases: tuple[Phase, ...]
    work: Callable[[Shape, Phase], Work]
    dimensions: tuple[str, ...]
    """The sizes on which the operator depends; shapes that differ only in other sizes count as one."""
    peers: Mapping[str, Callable[[], Contestant]] = field(default_factory=dict)
    """Loaders by name; one raises peers.Missing if its peer is not installed or cannot run here."""
    fresh: tuple[str, ...] = ()
    """Arguments that a contestant may overwrite; they are cloned before each repetition, untimed."""
    targets: tuple[Target, ...] = ()
    tokens: tuple[int, ...] | None = None
    """The only sizes to measure; by default, all in the table."""


def run(benchmark: Benchmark, shapes: tuple[Shape, ...], device: torch.device) -> dict[str, Any]:
    """The figures, as written."""
    contestants, left_out = _contestants(benchmark)
    ceilings: dict[str, float] = {"copy_bytes_per_second": copy_rate(device)}
    cells: list[Cell] = []
    differences: list[dict[str, Any]] = []
    for shape in _distinct(benchmark, shapes):
        torch.manual_seed(0)
        problem = benchmark.problem(shape, device)
        ceiling = _ceiling(benchmark, shape, device, ceilings)
        expected = None
        for name, contestant in contestants.items():
            if name == COMPILED and len(shapes) > 1 and shape.tokens != COMPILED_TOKENS:
                continue
            for phase in benchmark.phases:
                cells.append(_cell(benchmark, name, contestant, problem, shape, phase, ceiling, device))
                print(report.line(cells[-1]), flush=True)
            if shape.tokens == min(s.tokens for s in shapes):
                values = _values(benchmark, contestant, problem)
                expected = values if expected is None else expected
                differences += _differences(name, shape, values, expected)
            torch._dynamo.reset()
            _release(device)
        del problem, expected
        _release(device)
    table = Table(cells)
    return {
        "operator": benchmark.operator,
        "summary": benchmark.summary,
        **report.provenance(device),
        "left_out": left_out,
        "ceilings": ceilings,
        "targets": [report.judged(target, target.value(table)) for target in benchmark.targets],
        "differences": differences,
        "cells": [asdict(cell) for cell in cells],
    }


def main(benchmark: Benchmark) -> int:
    """The script's command line."""
    parser = argparse.ArgumentParser(description=f"{benchmark.operator}: {benchmark.summary}")
    report.add_options(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"{benchmark.operator}: there is no GPU here, so nothing was measured and nothing is written")
        return 2
    results = run(benchmark, SHAPES[arguments.shapes], device)
    report.show(results)
    report.write(results, arguments.out)
    return 0


def _contestants(benchmark: Benchmark) -> tuple[dict[str, Contestant], list[str]]:
    """The contestants by name, and why others are missing."""
    found = {
        OURS: benchmark.ours,
        EAGER: benchmark.eager,
        COMPILED: torch.compile(benchmark.eager, dynamic=False),
    }
    left_out = []
    for name, load in benchmark.peers.items():
        try:
            found[name] = load()
        except peers.Missing as error:
            left_out.append(f"{name}: {error}")
    return found, left_out


def _distinct(benchmark: Benchmark, shapes: tuple[Shape, ...]) -> list[Shape]:
    """The first of the shapes that look the same to the operator."""
    distinct: dict[tuple[Any, ...], Shape] = {}
    for shape in shapes:
        if benchmark.tokens is None or len(shapes) == 1 or shape.tokens in benchmark.tokens:
            distinct.setdefault(tuple(getattr(shape, name) for name in benchmark.dimensions), shape)
    return list(distinct.values())


def _ceiling(benchmark: Benchmark, shape: Shape, device: torch.device, ceilings: dict[str, float]) -> float:
    """The rate against which this shape's figures are measured; kept in `ceilings`."""
    if not benchmark.work(shape, benchmark.phases[0]).flops:
        return ceilings["copy_bytes_per_second"]
    name = f"product_flop_per_second {shape.tokens}x{shape.hidden}x{shape.vocabulary}"
    ceilings[name] = product_rate(shape.tokens, shape.hidden, shape.vocabulary, shape.dtype, device)
    _release(device)
    return ceilings[name]


def _cell(
    benchmark: Benchmark,
    name: str,
    contestant: Contestant,
    problem: Problem,
    shape: Shape,
    phase: Phase,
    ceiling: float,
    device: torch.device,
) -> Cell:
    leaves = [x for x in problem.values() if isinstance(x, Tensor) and x.requires_grad]
    upstream: list[Tensor] = []

    def fresh() -> Problem:
        return {key: x.clone() if key in benchmark.fresh else x for key, x in problem.items()}

    def forward(values: Problem) -> tuple[Tensor, ...]:
        return contestant(**values)

    def backward(outputs: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
        outputs = tuple(x for x in outputs if x.requires_grad)
        if not upstream:
            upstream.extend(_upstream(outputs))
        return torch.autograd.grad(outputs, leaves, upstream, allow_unused=True)

    def both(values: Problem) -> tuple[Tensor | None, ...]:
        return backward(forward(values))

    size = {"contestant": name, "tokens": shape.tokens, "hidden": shape.hidden, "phase": phase}
    if phase == "replayed" and device.type == "cpu":
        return Cell(**size, error="only a GPU has graphs to replay")
    try:
        match phase:
            case "forward":
                seconds, repetitions = median_seconds(fresh, forward, device)
            case "backward":
                seconds, repetitions = median_seconds(lambda: forward(fresh()), backward, device)
            case "forward+backward":
                seconds, repetitions = median_seconds(fresh, both, device)
            case "replayed":
                seconds, repetitions = replayed_seconds(lambda: both(fresh()))
        values = fresh()
        whole = forward if phase == "forward" else both
        peak = peak_bytes(lambda: whole(values), device)
    except Exception as error:
        _release(device)
        first = (str(error).strip() or repr(error)).splitlines()[0]
        return Cell(**size, error=f"{type(error).__name__}: {first[:200]}")
    work = benchmark.work(shape, phase)
    rate = (work.flops or work.bytes) / seconds
    return Cell(
        **size,
        seconds=seconds,
        repetitions=repetitions,
        peak_bytes=peak,
        bytes_per_second=None if work.flops else rate,
        flop_per_second=rate if work.flops else None,
        fraction=rate / ceiling,
    )


def _upstream(outputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Gradients of the outputs, the same for every contestant."""
    device = outputs[0].device
    generator = torch.Generator(device).manual_seed(1)
    return [
        torch.randn(x.shape, dtype=torch.float32, device=device, generator=generator).to(x.dtype)
        for x in outputs
    ]


def _values(benchmark: Benchmark, contestant: Contestant, problem: Problem) -> dict[str, Tensor] | str:
    """A contestant's outputs and gradients, by name, or why there are none."""
    try:
        outputs = contestant(**{k: x.clone() if k in benchmark.fresh else x for k, x in problem.items()})
        values = {f"output {i}": x.detach().clone() for i, x in enumerate(outputs)}
        if benchmark.phases != ("forward",):
            outputs = tuple(x for x in outputs if x.requires_grad)
            leaves = {k: x for k, x in problem.items() if isinstance(x, Tensor) and x.requires_grad}
            gradients = torch.autograd.grad(outputs, list(leaves.values()), _upstream(outputs))
            values |= {f"gradient of {k}": x for k, x in zip(leaves, gradients, strict=True)}
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return values


def _differences(
    name: str, shape: Shape, values: dict[str, Tensor] | str, expected: dict[str, Tensor] | str
) -> list[dict[str, Any]]:
    """How far a contestant's numbers are from ours: the norm of the difference relative to that of ours."""
    if isinstance(values, str) or isinstance(expected, str):
        return []
    row: dict[str, Any] = {"contestant": name, "tokens": shape.tokens, "hidden": shape.hidden}
    for key, ours in expected.items():
        other = values[key]
        scale = ours.float().norm().clamp(min=1e-30)
        row[key] = float((other.float().reshape(ours.shape) - ours.float()).norm() / scale)
    return [row]


def _release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
