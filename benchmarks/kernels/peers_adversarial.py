"""Inputs that operators get wrong: the results of eager torch, the peers and Ludus.

    TRITON_INTERPRET=1 python benchmarks/kernels/peers_adversarial.py       # without the variable on a GPU

The inputs are those of tests/kernels/logits.py, in float32; the oracle is the stable form in float64.
Operators over hidden states get the logits as hidden states and the identity as weight, so that the product
is exact; logits of -inf cannot result from a product, and are left out there. Log-probability, entropy and
the logits' gradient (of a random sum of both) must each be right within 2e-5 absolute plus relative, or the
worst error is named. Without a GPU, kernels run in Triton's interpreter.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peers
import report
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parents[2] / "tests" / "kernels"))
from logits import ADVERSARIAL, adversarial

from ludus.kernels import grpo_loss, linear_logprob, logprob_entropy
from ludus.kernels.logprob_entropy.reference import logprob_entropy_reference
from ludus.kernels.paths import VARIABLE, triton_problem

if os.environ.get("TRITON_INTERPRET") == "1":
    from interpreter import round_fma_once

    round_fma_once()

ROWS, VOCABULARY = 6, 256
TOLERANCE = 2e-5
FINE = "right"

OverLogits = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""(logits [M, V], targets [M]) -> (logprobs [M], entropy [M]), without the second if it has none."""


@contextlib.contextmanager
def path(name: str) -> Iterator[None]:
    """Ludus' path inside."""
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def over_identity(linear: Callable[..., tuple[Tensor, ...]]) -> OverLogits:
    def contestant(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return linear(hidden=logits, weight=torch.eye(logits.shape[1], device=logits.device), targets=targets)

    return contestant


def eager(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logp = torch.log_softmax(logits, dim=-1)
    return logp.gather(1, targets[:, None]).squeeze(1), -(logp.exp() * logp).sum(-1)


def liger_selective() -> OverLogits:
    """Liger's selective log-softmax over [B, T + 1, V]; no entropy, no backward of its own."""
    peers.require_triton("liger-kernel")
    from liger_kernel.ops.grpo_loss import fused_selective_log_softmax

    def contestant(logits: Tensor, targets: Tensor) -> tuple[Tensor]:
        padded = torch.cat([logits.detach(), logits.detach()[-1:]])[None].contiguous()
        return (fused_selective_log_softmax(padded, targets[None], 1.0)[0],)

    return contestant


def verl_linear() -> Callable[..., tuple[Tensor, ...]]:
    contestant = peers.verl_linear_logprob()
    if not torch.cuda.is_available():
        # verl asserts that its tensors are on a GPU and marks its phases for a profiler that CPU builds lack.
        torch.Tensor.is_cuda = property(lambda _: True)  # type: ignore[assignment, misc]
        torch.cuda.nvtx.range = contextlib.nullcontext  # type: ignore[assignment, misc]
    return contestant


def ours(operator: Callable[[Tensor, Tensor], tuple[Tensor, ...]], name: str) -> OverLogits:
    def contestant(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        with path(name):
            return operator(logits, targets)

    return contestant


def ludus_linear(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    return linear_logprob(hidden, weight, targets, 1.0)[:2]


def contestants(device: torch.device) -> tuple[dict[str, OverLogits], dict[str, OverLogits], list[str]]:
    """(contestants over logits, contestants over hidden states, who is left out and why)."""
    paths = ("cpu",) if triton_problem(device) else ("cpu", "triton")
    logits: dict[str, OverLogits] = {f"ludus {name}": ours(logprob_entropy, name) for name in paths}
    linear: dict[str, OverLogits] = {
        f"ludus linear {name}": ours(over_identity(ludus_linear), name) for name in paths
    }
    logits["eager"] = eager
    loaders: list[tuple[dict[str, OverLogits], str, Callable[[], Any]]] = [
        (logits, "TRL", peers.trl_logprob_entropy),
        (logits, "Liger selective", liger_selective),
        (linear, "TRL linear", lambda: over_identity(peers.trl_linear_logprob())),
        (linear, "Liger linear", lambda: over_identity(peers.liger_linear_logprob())),
        (linear, "verl linear", lambda: over_identity(verl_linear())),
    ]
    left_out = []
    for group, name, load in loaders:
        try:
            group[name] = load()
        except peers.Missing as error:
            left_out.append(f"{name}: {error}")
    return logits, linear, left_out


def verdict(got: Tensor, expected: Tensor) -> str:
    """`right`, or the worst error."""
    got, expected = got.detach().double().cpu(), expected.detach().double().cpu()
    if bool((got.isnan() & ~expected.isnan()).any()):
        return "NaN"
    for infinity in (math.inf, -math.inf):
        if bool(((got == infinity) & (expected != infinity)).any()):
            return f"{infinity:+}"
    if bool((expected.isinf() & (got != expected)).any()):
        return "finite instead of infinite"
    finite = expected.isfinite()
    error = (got - expected)[finite].abs()
    if bool((error <= TOLERANCE * (1 + expected[finite].abs())).all()):
        return FINE
    return f"off by {float(error.max()):.1g}"


def judge(contestant: OverLogits, case: str, device: torch.device) -> dict[str, str]:
    """Verdicts on a contestant's results for a case."""
    logits, targets = adversarial(case, ROWS, VOCABULARY, seed=3)
    generator = torch.Generator().manual_seed(4)
    upstream = [torch.randn(ROWS, generator=generator, dtype=torch.float64) for _ in range(2)]

    def gradient(outputs: tuple[Tensor, ...], leaf: Tensor) -> Tensor:
        given = [u.to(x.device, x.dtype) for u, x in zip(upstream, outputs, strict=False)]
        return torch.autograd.grad(outputs, leaf, given)[0]

    leaf = logits.to(device).requires_grad_()
    try:
        outputs = contestant(leaf, targets.to(device))
        exact_leaf = logits.double().requires_grad_()
        exact = logprob_entropy_reference(exact_leaf, targets)[: len(outputs)]
        names = ("log-probability", "entropy")
        verdicts = {n: verdict(x, e) for n, x, e in zip(names, outputs, exact, strict=False)}
        if outputs[0].requires_grad:
            verdicts["gradient"] = verdict(gradient(outputs, leaf), gradient(exact, exact_leaf))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"}
    return verdicts


def policy_losses() -> tuple[dict[str, Callable[..., Tensor]], list[str]]:
    """Contestants for the policy loss: (logprobs, old_logprobs, advantage) of one sequence -> loss."""

    def ludus(logprobs: Tensor, old: Tensor, advantage: float) -> Tensor:
        weights = torch.full_like(logprobs, 1.0 / len(logprobs))
        advantages = torch.full_like(logprobs, advantage)
        return grpo_loss(logprobs, old, advantages, weights, clip_low=0.2, clip_high=0.28).loss

    def textbook(logprobs: Tensor, old: Tensor, advantage: float) -> Tensor:
        ratio = (logprobs - old).exp()
        return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage).mean()

    found: dict[str, Callable[..., Tensor]] = {"ludus": ludus, "eager": textbook}
    try:
        peers.require("liger-kernel")
    except peers.Missing as error:
        return found, [f"Liger policy loss: {error}"]
    from liger_kernel.chunked_loss.grpo_loss import LigerFusedLinearGRPOFunction

    def liger(logprobs: Tensor, old: Tensor, advantage: float) -> Tensor:
        mask = torch.ones_like(logprobs)[None]
        loss, _ = LigerFusedLinearGRPOFunction.ppo_loss_fn(
            logprobs[None],
            mask,
            torch.full_like(logprobs[:1], advantage),
            mask,
            old_per_token_logps=old[None],
            epsilon_low=0.2,
            epsilon_high=0.28,
            beta=0.0,
            loss_type="dapo",
        )
        return loss

    return found | {"Liger": liger}, []


def judge_policy(contestant: Callable[..., Tensor], device: torch.device) -> dict[str, str]:
    """Whether loss and gradient stay finite where the old policy gave exp(-200), by the advantage's sign."""
    verdicts = {}
    for sign in (1.0, -1.0):
        leaf = torch.tensor([-1.0, -5.0, -2.0], device=device, requires_grad=True)
        old = torch.tensor([-1.1, -200.0, -2.0], device=device)
        loss = contestant(leaf, old, sign)
        (gradient,) = torch.autograd.grad(loss, leaf)
        for name, value in (("loss", loss), ("gradient", gradient)):
            bad = value[~value.isfinite()]
            verdicts[f"{name}, advantage {sign:+g}"] = (
                "finite" if not len(bad) else f"{float(bad[0].detach()):+}"
            )
    return verdicts


def main() -> int:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    over_logits, over_hidden, left_out = contestants(device)
    policies, also_left_out = policy_losses()
    table: dict[str, dict[str, dict[str, str]]] = {}
    for case in ADVERSARIAL:
        chosen = over_logits if "-inf" in case else over_logits | over_hidden
        table[case] = {name: judge(contestant, case, device) for name, contestant in chosen.items()}
        for name, verdicts in table[case].items():
            wrong = ", ".join(f"{k} {v}" for k, v in verdicts.items() if v != FINE)
            print(f"{case:22} {name:22} {wrong or FINE}", flush=True)
    table["old log-probability -200"] = {
        name: judge_policy(contestant, device) for name, contestant in policies.items()
    }
    for name, verdicts in table["old log-probability -200"].items():
        wrong = ", ".join(f"{k} {v}" for k, v in verdicts.items() if v != "finite")
        print(f"{'old log-prob. -200':22} {name:22} {wrong or 'finite'}")
    for name in left_out + also_left_out:
        print(f"left out: {name}")
    path = report.RESULTS / "kernels-adversarial.json"
    figures = {
        **report.provenance(device),
        "interpreted": device.type == "cpu",
        "rows": ROWS,
        "vocabulary": VOCABULARY,
        "tolerance": TOLERANCE,
        "left_out": left_out + also_left_out,
        "verdicts": table,
    }
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"written to {path}")
    mine = [
        v for row in table.values() for n, vs in row.items() if n.startswith("ludus") for v in vs.values()
    ]
    return 0 if set(mine) <= {FINE, "finite"} else 1


if __name__ == "__main__":
    sys.exit(main())
