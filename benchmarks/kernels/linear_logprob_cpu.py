"""linear_logprob forward and backward on two CPU cores: Ludus, eager torch, torch.compile, and TRL.

    python benchmarks/kernels/linear_logprob_cpu.py --trl-python /path/to/venv/bin/python

M = 2,048 tokens, H = 256, V = 32,768 tokens in the vocabulary, float32; log-probability and entropy both have
gradients, and hidden states and weight are both trained. TRL's chunked path runs in its own environment (`pip
install torch==2.13.0 trl==1.16.0`); without the option it is left out.

Each contestant runs in a fresh process. Time: median over the steps after the first. Memory: the peak
resident size over all steps, less the resident size before them, when inputs are made and a step on four
tokens with a vocabulary of 64 has loaded the code. Gradients have been freed by then, so they count.
(torch.compile compiles for the real shape first, since compiling takes more memory than running.)
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from memory import forget_peak, resident
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1]))
from machine import machine

TOKENS, HIDDEN, VOCABULARY, THREADS = 2048, 256, 32_768, 2
LIMITS = {"seconds / eager": 0.9, "peak memory / eager": 0.15, "seconds / TRL": 1.0}
AGREEMENT = 1e-4
"""Relative, for the loss and each gradient's norm; sums in another order stay below."""
PACKAGES = {"ludus": ["ludus"], "trl": ["trl"]}
MIB = 2**20

Operator = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(hidden [M, H], weight [V, H], targets [M]) -> (logprobs [M], entropy [M])"""


def eager(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logp = torch.log_softmax(torch.nn.functional.linear(hidden, weight), dim=-1)
    return logp.gather(1, targets[:, None]).squeeze(1), -(logp.exp() * logp).sum(-1)


def operator(contestant: str) -> Operator:
    match contestant:
        case "ludus":
            from ludus.kernels import linear_logprob

            return lambda hidden, weight, targets: linear_logprob(hidden, weight, targets, 1.0)[:2]
        case "compile":
            return torch.compile(eager, dynamic=False)
        case "trl":
            from trl.kernels import ChunkedLogProbFunction
            from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as chunk_size

            outputs = ("entropy",)
            return lambda hidden, weight, targets: ChunkedLogProbFunction.apply(
                hidden, weight, None, targets, 1.0, chunk_size, None, 1.0, outputs
            )[:2]
        case _:
            return eager


def inputs(tokens: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(hidden, weight, targets, gradient of logprobs, gradient of entropy), with logits of spread 2.4."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    hidden, weight = normal(tokens, HIDDEN), normal(vocabulary, HIDDEN).mul_(0.15)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    return (
        hidden.requires_grad_(),
        weight.requires_grad_(),
        targets,
        normal(tokens) / tokens,
        normal(tokens) / tokens,
    )


def step(run: Operator, problem: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> dict[str, float]:
    """Forward and backward; afterwards the gradients are freed."""
    hidden, weight, targets, grad_logprobs, grad_entropy = problem
    hidden.grad = weight.grad = None
    begun = time.perf_counter()
    logprobs, entropy = run(hidden, weight, targets)
    torch.autograd.backward((logprobs, entropy), (grad_logprobs, grad_entropy))
    seconds = time.perf_counter() - begun
    assert hidden.grad is not None
    assert weight.grad is not None
    return {
        "seconds": seconds,
        "loss": float((logprobs * grad_logprobs + entropy * grad_entropy).detach().sum()),
        "hidden_grad_norm": float(hidden.grad.norm()),
        "weight_grad_norm": float(weight.grad.norm()),
    }


def measure(contestant: str, steps: int) -> dict[str, Any]:
    torch.set_num_threads(THREADS)
    run, problem = operator(contestant), inputs(TOKENS, VOCABULARY)
    step(run, problem if contestant == "compile" else inputs(4, 64))
    problem[0].grad = problem[1].grad = None
    before = resident("VmRSS")
    forget_peak()
    results = [step(run, problem) for _ in range(steps + 1)]
    peak = resident("VmHWM") - before
    return results[0] | {
        "contestant": contestant,
        "seconds": statistics.median(r["seconds"] for r in results[1:]),
        "seconds_all": [r["seconds"] for r in results],
        "peak_mib": peak / MIB,
        "machine": machine("torch", *PACKAGES.get(contestant, [])),
    }


def run(python: str, contestant: str, steps: int) -> dict[str, Any]:
    command = [python, __file__, "--contestant", contestant, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"contestant": contestant, "error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def disagreement(result: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest relative difference between what two contestants computed."""
    names = ("loss", "hidden_grad_norm", "weight_grad_norm")
    return max(abs(result[name] - other[name]) / abs(other[name]) for name in names)


def judge(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Targets beside measured values; without a contestant, its row has no answer."""
    by_name = {r["contestant"]: r for r in results if "error" not in r}
    ours = by_name.get("ludus")
    fields = {
        "seconds / eager": ("eager", "seconds"),
        "peak memory / eager": ("eager", "peak_mib"),
        "seconds / TRL": ("trl", "seconds"),
    }
    rows = []
    for name, limit in LIMITS.items():
        contestant, field = fields[name]
        other = by_name.get(contestant)
        reached = ours[field] / other[field] if ours and other else None
        met = None if reached is None else reached <= limit
        rows.append({"target": name, "limit": limit, "reached": reached, "met": met})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl-python", help="the interpreter of an environment that has TRL")
    parser.add_argument("--steps", type=int, default=7, help="timed steps per contestant")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "results" / "kernels-linear_logprob_cpu.json"
    )
    parser.add_argument("--only", nargs="+", help="these contestants alone; nothing is written")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(measure(arguments.contestant, arguments.steps)))
        return 0

    pythons = {"ludus": sys.executable, "eager": sys.executable, "compile": sys.executable}
    if arguments.trl_python:
        pythons["trl"] = arguments.trl_python
    names = arguments.only or list(pythons)
    results = [run(pythons[name], name, arguments.steps) for name in names]
    reference = next((r for r in results if r["contestant"] == "eager" and "error" not in r), None)
    print(f"{'':10}{'seconds':>10}{'peak MiB':>10}{'from eager':>12}")
    for r in results:
        if "error" in r:
            print(f"{r['contestant']:10}  {r['error']}")
            continue
        r["disagreement"] = None if reference is None else disagreement(r, reference)
        apart = "" if reference is None else f"{r['disagreement']:12.1e}"
        print(f"{r['contestant']:10}{r['seconds']:10.3f}{r['peak_mib']:10.0f}{apart}")
    targets = judge(results)
    for t in targets:
        reached = "not measured" if t["reached"] is None else f"{t['reached']:.3f}"
        verdict = {True: "met", False: "MISSED", None: "unanswered"}[t["met"]]
        print(f"{t['target']}: {reached}, at most {t['limit']:g}: {verdict}")
    shape = {
        "tokens": TOKENS,
        "hidden": HIDDEN,
        "vocabulary": VOCABULARY,
        "dtype": "float32",
        "threads": THREADS,
    }
    if not arguments.only:
        arguments.out.write_text(
            json.dumps({"shape": shape, "targets": targets, "results": results}, indent=2) + "\n"
        )
        print(f"written to {arguments.out}")
    apart = [r["contestant"] for r in results if r.get("disagreement") and not r["disagreement"] <= AGREEMENT]
    if apart:
        print(f"computes something else than eager: {', '.join(apart)}")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
