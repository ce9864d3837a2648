"""Where the time of a GRPO step goes, and how far it is from what its matrix products alone would take.

    python benchmarks/step_profile.py [--model FOLDER] [--steps 12]

The job is that of `benchmarks/step.py`: one worker, one thread. The steps are timed by phase (medians after
the first two); one more is played under torch's profiler, for the operators of rollout and update, and one
under a recorder of its matrix products. The bound is the time of these products by themselves, each shape
timed on this machine at its best. Prints tables and writes `benchmarks/results/step_profile.json`.
"""

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from machine import machine
from step import CONFIG, WARM_UP, primed, settings
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from ludus.agents.engines.steps import Batch
from ludus.trainers.algorithms import grpo
from ludus.trainers.config.reading import load_config
from ludus.trainers.run.job import train

OUT = Path(__file__).parent / "results" / "step_profile.json"
Function = tuple[Any, str]
"""Where it is looked up, and its name."""
PARTS: dict[Function, str] = {
    (Batch, "run"): "of it, the engine's passes",
    (grpo, "sample_groups"): "rollout",
    (grpo, "make_minibatches"): "credit and packing",
    (grpo, "team_gradients"): "forward and backward",
    (grpo, "repeat"): "scored again",
    (grpo, "clip_gradients"): "optimizer",
    (grpo, "take_step"): "optimizer",
}
COMPUTED: dict[str, Function] = {"rollout": (Batch, "run"), "update": (grpo, "team_gradients")}
"""What operators and products are counted in."""
OPERATORS = 15
"""Rows of a table."""
REPEATS = 20
"""Of a matrix product, the fastest of which counts."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a primed model; by default one is primed")
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = arguments.model or primed(folder / "primed")
        phases = by_phase(folder, model, arguments.steps)
        operators = {name: by_operator(folder, model, function) for name, function in COMPUTED.items()}
        products = {name: of_products(folder, model, function) for name, function in COMPUTED.items()}
    total, bound = phases["total"], sum(row["seconds"] for row in products.values())
    for name, seconds in phases.items():
        print(f"{name:<30} {seconds:7.3f} s {seconds / total:5.0%}")
    for name, table in operators.items():
        print(f"\n{name}, by operator; its matrix products by themselves: {products[name]['seconds']:.3f} s")
        for operator, seconds in table.items():
            print(f"  {operator:<56} {seconds:7.3f} s")
    print(f"\nA step takes {total / bound:.1f} times as long as its matrix products by themselves.")
    found = {"phases": phases, "operators": operators, "products": products, "times_bound": total / bound}
    OUT.write_text(json.dumps({**found, **machine("torch", "transformers")}, indent=2) + "\n")


def play(
    folder: Path,
    model: Path,
    steps: int,
    around: Mapping[Function, Callable[[int], AbstractContextManager[object]]],
) -> list[dict[str, Any]]:
    """Play steps, every call of some functions inside what `around` makes for the step (counted from 0).

    Returns:
        The metrics of each step.
    """
    done = 0

    def finish(plain: Callable[..., None], *arguments: Any) -> None:
        nonlocal done
        done += 1
        plain(*arguments)

    def watched(
        plain: Callable[..., Any], make: Callable[[int], AbstractContextManager[object]]
    ) -> Callable[..., Any]:
        def function(*arguments: Any, **keywords: Any) -> Any:
            with make(done):
                return plain(*arguments, **keywords)

        return function

    with ExitStack() as patches:
        for (owner, name), make in around.items():
            patches.enter_context(patch.object(owner, name, watched(getattr(owner, name), make)))
        counted = partial(finish, grpo.TrainingPhase.finish)
        patches.enter_context(patch.object(grpo.TrainingPhase, "finish", lambda *all: counted(*all)))
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            run = train(load_config(CONFIG, settings(model, steps)), Path(scratch) / "run")
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == "grpo"]


def by_phase(folder: Path, model: Path, steps: int) -> dict[str, float]:
    """Seconds of a step's parts; medians."""
    spent: dict[str, Counter[int]] = defaultdict(Counter)

    @contextmanager
    def clock(part: str, step: int) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent[part][step] += time.perf_counter() - began

    lines = play(folder, model, steps, {where: partial(clock, part) for where, part in PARTS.items()})
    counted = range(WARM_UP, steps)
    found = {part: median(spent[part][step] for step in counted) for part in dict.fromkeys(PARTS.values())}
    total = median(line["seconds/total"] for line in lines[WARM_UP:])
    inside = found[PARTS[Batch, "run"]]
    return {**found, "checks and the rest": total - sum(found.values()) + inside, "total": total}


def by_operator(folder: Path, model: Path, function: Function) -> dict[str, float]:
    """Seconds of the operators in which most time is spent, without those that they call."""
    profiles: list[profile] = []

    def record(step: int) -> AbstractContextManager[object]:
        if step != WARM_UP:
            return nullcontext()
        profiles.append(profile(activities=[ProfilerActivity.CPU]))
        return profiles[-1]

    play(folder, model, WARM_UP + 1, {function: record})
    seconds: Counter[str] = Counter()
    for recorded in profiles:
        for row in recorded.key_averages():
            seconds[row.key] += row.self_cpu_time_total / 1e6
    return dict(seconds.most_common(OPERATORS))


class Products(TorchDispatchMode):
    """Counts matrix products by shape: [m, k] by [k, n], and how many of each."""

    def __init__(self, counts: Counter[tuple[int, int, int]]) -> None:
        super().__init__()
        self._counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind, aten = func.overloadpacket, torch.ops.aten
        if kind in (aten.mm, aten.addmm, aten.linear):
            tensors = [argument for argument in args if isinstance(argument, Tensor)]
            one, other = tensors[-2:] if kind is not aten.linear else (tensors[0], tensors[1].t())
            self._counts[one.numel() // one.shape[-1], *other.shape] += 1
        return func(*args, **(kwargs or {}))


def of_products(folder: Path, model: Path, function: Function) -> dict[str, float]:
    """How many multiply-adds a step's products are, and their seconds by themselves."""
    counts: Counter[tuple[int, int, int]] = Counter()

    def record(step: int) -> AbstractContextManager[object]:
        return Products(counts) if step == WARM_UP else nullcontext()

    play(folder, model, WARM_UP + 1, {function: record})
    torch.set_num_threads(1)
    return {
        "multiply_adds": float(sum(m * k * n * count for (m, k, n), count in counts.items())),
        "seconds": sum(alone(*shape) * count for shape, count in counts.items()),
    }


def alone(m: int, k: int, n: int) -> float:
    one, other = torch.randn(m, k), torch.randn(k, n)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        torch.mm(one, other)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
