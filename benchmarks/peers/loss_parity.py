"""Our losses and advantages beside TRL's and verl's own functions, on the same numbers.

    python benchmarks/peers/loss_parity.py

runs the peers' functions, prints by how much ours differ, and writes `benchmarks/results/loss_parity.json`:
inputs, the peers' numbers, and the largest difference of each mode. The tests compare ours with that file, so
they need no peer. Everything is in float64. It takes an environment with Ludus and

    pip install accelerate datasets ray omegaconf hydra-core pandas codetiming tensordict
    pip install --no-deps trl==1.16.0 verl==0.9.1

Where a peer defines something else than we do, its mode says what, and ours are changed by just that before
they are compared.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ludus.kernels import grpo_loss, token_weights
from ludus.kernels.grpo_loss.kl import kl_value
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.advantages.gae import value_targets
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.losses.registry import LOSSES

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "loss_parity.json"
TOLERANCE = 1e-6
CLIP = {"clip_low": 0.2, "clip_high": 0.28}
MAX_TOKENS = 9
Numbers = dict[str, Tensor]
"""What is compared: `loss` and `gradient`, or `advantages` and `targets` of a value model."""


@dataclass(frozen=True)
class Inputs:
    """A batch of S sequences of at most T tokens. Some of the tokens between are not the policy's own."""

    mask: Tensor
    """[S, T]: 1 where the policy sampled the token. The last sequence has none."""
    logprobs: Tensor
    old_logprobs: Tensor
    reference_logprobs: Tensor
    advantages: Tensor
    """[S], one for each sequence."""
    values: Tensor
    """[S, T], of a value model."""
    rewards: Tensor
    """[S, T], zero where the mask is."""
    groups: Tensor
    """[S]"""

    @classmethod
    def drawn(cls, seed: int = 0) -> "Inputs":
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        mask = torch.tensor(
            [
                [1, 1, 1, 1, 1, 1, 1],
                [1, 1, 0, 0, 1, 0, 0],
                [1, 0, 0, 0, 0, 0, 0],
                [1, 1, 1, 0, 1, 1, 0],
                [1, 1, 1, 1, 0, 0, 0],
                [0, 0, 0, 0, 0, 0, 0],
            ],
            dtype=torch.float64,
        )
        old = -0.1 - normal(*mask.shape).abs()
        return cls(
            mask,
            (old + 0.4 * normal(*mask.shape)).clamp(max=-0.01),
            old,
            (old + 0.5 * normal(*mask.shape)).clamp(max=-0.01),
            normal(len(mask)),
            normal(*mask.shape),
            normal(*mask.shape) * mask,
            torch.tensor([0, 0, 0, 1, 1, 2]),
        )

    def to_json(self) -> dict[str, Any]:
        return {name: tensor.tolist() for name, tensor in vars(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Inputs":
        integers = {"groups"}
        return cls(
            **{
                name: torch.tensor(value, dtype=torch.int64 if name in integers else torch.float64)
                for name, value in values.items()
            }
        )

    def nonempty(self) -> "Inputs":
        """Without sequences that have no token."""
        kept = self.mask.sum(1) > 0
        return Inputs(**{name: tensor[kept] for name, tensor in vars(self).items()})


# --- ours


def our_loss(inputs: Inputs, loss: str, **settings: Any) -> Numbers:
    spec = LOSSES[loss]
    counts = inputs.mask.sum(1)
    constant = MAX_TOKENS if spec.normaliser == "constant" else None
    weights = inputs.mask * token_weights(spec.normaliser, counts, constant)[:, None]
    leaf = inputs.logprobs.clone().requires_grad_()
    value = grpo_loss(
        leaf,
        inputs.old_logprobs,
        inputs.advantages[:, None].expand(leaf.shape).contiguous(),
        weights,
        **{"ratio": spec.ratio, "objective": spec.objective, **CLIP, **settings},
        reference_logprobs=inputs.reference_logprobs,
    ).loss
    (gradient,) = torch.autograd.grad(value, leaf)
    return {"loss": value.detach(), "gradient": gradient}


def our_advantages(inputs: Inputs, **settings: Any) -> Numbers:
    return {"advantages": padded(inputs, assign_credit(trajectories_of(inputs), GrpoSection(**settings)))}


def our_gae(inputs: Inputs, gae_lambda: float, gamma: float) -> Numbers:
    trajectories = trajectories_of(inputs)
    config = GrpoSection(credit="gae", gae_lambda=gae_lambda, gamma=gamma)
    return {
        "advantages": padded(inputs, assign_credit(trajectories, config)),
        "targets": padded(inputs, value_targets(trajectories, gamma, gae_lambda)),
    }


def trajectories_of(inputs: Inputs) -> list[Trajectory]:
    """A turn is a run of the policy's own tokens; rewards are given by token."""
    trajectories = []
    for row, own_T in enumerate(inputs.mask.bool()):
        runs = [len(run) for run in "".join("x" if own else " " for own in own_T.tolist()).split()]
        trajectories.append(
            Trajectory(
                int(inputs.groups[row]),
                (0.0,) * len(runs),
                tuple(runs),
                token_rewards_T=inputs.rewards[row][own_T],
                values_T=inputs.values[row][own_T],
            )
        )
    return trajectories


def padded(inputs: Inputs, values: list[Tensor]) -> Tensor:
    """[S, T], 0 where the policy sampled no token."""
    return torch.zeros_like(inputs.mask).masked_scatter(inputs.mask.bool(), torch.cat(values))


# --- theirs


def trl_loss(
    inputs: Inputs, loss_type: str, level: str = "token", delta: float | None = None, beta: float = 0.0,
    corrected: bool = True, epsilon: tuple[float, float] = (CLIP["clip_low"], CLIP["clip_high"]),
) -> Numbers:  # fmt: skip
    """`GRPOTrainer._compute_loss`, with log-probabilities that are given instead of a model's."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    leaf = inputs.logprobs.clone().requires_grad_()
    accelerator = SimpleNamespace(num_processes=1, reduce=lambda x, reduction: x, gather=lambda x: x)
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (leaf, torch.zeros_like(leaf), None),
        args=SimpleNamespace(delta=delta, use_bias_correction_kl=corrected, steps_per_generation=1),
        accelerator=accelerator,
        aux_loss_enabled=False,
        beta=beta,
        current_gradient_accumulation_steps=1,
        epsilon_low=epsilon[0],
        epsilon_high=epsilon[1],
        importance_sampling_level=level,
        loss_type=loss_type,
        max_completion_length=MAX_TOKENS,
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )
    prompt = torch.zeros(len(leaf), 1, dtype=torch.int64)
    value = GRPOTrainer._compute_loss(
        trainer,
        trainer.model,
        {
            "prompt_ids": prompt,
            "prompt_mask": prompt + 1,
            "completion_ids": torch.zeros(leaf.shape, dtype=torch.int64),
            "completion_mask": torch.ones(leaf.shape, dtype=torch.float64),
            "tool_mask": inputs.mask,
            "advantages": inputs.advantages,
            "old_per_token_logps": inputs.old_logprobs,
            "ref_per_token_logps": inputs.reference_logprobs,
            "num_items_in_batch": inputs.mask.sum(),
        },
    )
    (gradient,) = torch.autograd.grad(value, leaf)
    return {"loss": value.detach(), "gradient": gradient}


def verl_loss(inputs: Inputs, name: str, mean: str, **settings: Any) -> Numbers:
    from verl.trainer.ppo.core_algos import get_policy_loss_fn
    from verl.workers.config import ActorConfig

    config = ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=CLIP["clip_low"],
        clip_ratio_high=CLIP["clip_high"],
        **settings,
    )
    config.global_batch_info["loss_scale_factor"] = MAX_TOKENS
    leaf = inputs.logprobs.clone().requires_grad_()
    value, _ = get_policy_loss_fn(name)(
        inputs.old_logprobs,
        leaf,
        inputs.advantages[:, None].expand(leaf.shape),
        inputs.mask,
        loss_agg_mode=mean,
        config=config,
    )
    (gradient,) = torch.autograd.grad(value, leaf)
    return {"loss": value.detach(), "gradient": gradient}


def verl_advantages(inputs: Inputs, name: str, gamma: float = 1.0, **settings: Any) -> Numbers:
    from verl.trainer.config import AlgoConfig
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    given = {"index": inputs.groups.numpy(), "config": AlgoConfig(gamma=gamma), **settings}
    advantages, _ = get_adv_estimator_fn(name)(inputs.rewards.clone(), response_mask=inputs.mask, **given)
    return {"advantages": advantages * inputs.mask}


def verl_gae(inputs: Inputs, lam: float, gamma: float) -> Numbers:
    from verl.trainer.ppo.core_algos import compute_gae_advantage_return

    advantages, returns = compute_gae_advantage_return(inputs.rewards, inputs.values, inputs.mask, gamma, lam)
    return {"advantages": advantages * inputs.mask, "targets": returns * inputs.mask}


# --- where their definitions differ


def plain_kl(inputs: Inputs, numbers: Numbers, loss: str, kl_coefficient: float) -> Numbers:
    """The estimator itself in the place of ours, which is weighted by the ratio."""
    counts = inputs.mask.sum(1)
    weights = kl_coefficient * inputs.mask * token_weights(LOSSES[loss].normaliser, counts)[:, None]
    ratio = (inputs.logprobs - inputs.old_logprobs).exp()
    d = inputs.logprobs - inputs.reference_logprobs
    k3 = kl_value("k3", inputs.logprobs, inputs.reference_logprobs)
    return {
        "loss": numbers["loss"] + (weights * (1 - ratio) * k3).sum(),
        "gradient": numbers["gradient"] + weights * ((1 - (-d).exp()) - ratio * d),
    }


def spread_with(epsilon: float) -> Callable[[Inputs, Numbers], Numbers]:
    """`epsilon` added to the group's standard deviation."""

    def changed(inputs: Inputs, numbers: Numbers) -> Numbers:
        returns = inputs.rewards.sum(1)
        advantages = numbers["advantages"].clone()
        for group in inputs.groups.unique():
            members = inputs.groups == group
            spread = returns[members].std()
            advantages[members] *= spread / (spread + epsilon)
        return {"advantages": advantages}

    return changed


@dataclass(frozen=True)
class Mode:
    peer: str
    theirs: Callable[..., Numbers]
    arguments: dict[str, Any]
    ours: Callable[..., Numbers]
    settings: dict[str, Any]
    definition: str = ""
    """What the peer defines otherwise."""
    changed: Callable[[Inputs, Numbers], Numbers] = lambda inputs, numbers: numbers
    """Ours by the peer's definition."""
    inputs: Callable[[Inputs], Inputs] = lambda inputs: inputs


def trl(arguments: dict[str, Any], settings: dict[str, Any], definition: str = "", **further: Any) -> Mode:
    return Mode("trl", trl_loss, arguments, our_loss, settings, definition, **further)


def verl(arguments: dict[str, Any], settings: dict[str, Any], definition: str = "", **further: Any) -> Mode:
    empty = "means leave a sequence without tokens out; ours count it"
    definition = f"{definition}; {empty}" if definition else empty
    return Mode(
        "verl", verl_loss, arguments, our_loss, settings, definition, inputs=Inputs.nonempty, **further
    )


def credit(arguments: dict[str, Any], settings: dict[str, Any], definition: str = "", **further: Any) -> Mode:
    return Mode(
        "verl",
        verl_advantages,
        arguments,
        our_advantages,
        settings,
        definition,
        inputs=Inputs.nonempty,
        **further,
    )


WHITENED = "1e-8 added to the variance, which stays below the tolerance"
KL = {"kl_coefficient": 0.1, "kl_estimator": "k3"}
MODES = {
    "trl grpo": trl({"loss_type": "grpo"}, {"loss": "grpo"}),
    "trl bnpo": trl({"loss_type": "bnpo"}, {"loss": "dapo"}),
    "trl dr_grpo": trl({"loss_type": "dr_grpo"}, {"loss": "dr_grpo"}),
    "trl dapo": trl({"loss_type": "dapo"}, {"loss": "dapo"}),
    "trl grpo by sequence": trl({"loss_type": "grpo", "level": "sequence"}, {"loss": "gspo"}),
    "trl dapo by sequence": trl(
        {"loss_type": "dapo", "level": "sequence"}, {"loss": "dapo", "ratio": "sequence"}
    ),
    "trl grpo two-sided": trl({"loss_type": "grpo", "delta": 1.5}, {"loss": "grpo", "dual_clip": 1.5}),
    "trl cispo": trl(
        {"loss_type": "cispo", "epsilon": (0.2, 1.28)},
        {"loss": "cispo", "clip_low": 1.0},
        "epsilon_high is the bound itself, not its distance from 1, and there is none below",
    ),
    "trl grpo with KL": trl({"loss_type": "grpo", "beta": 0.1}, {"loss": "grpo", **KL}),
    "trl dr_grpo with KL": trl({"loss_type": "dr_grpo", "beta": 0.1}, {"loss": "dr_grpo", **KL}),
    "trl grpo with KL, plain": trl(
        {"loss_type": "grpo", "beta": 0.1, "corrected": False},
        {"loss": "grpo", **KL},
        "by default k3 is not weighted by the ratio, so that its gradient is that of KL(ref || policy)",
        changed=lambda inputs, numbers: plain_kl(inputs, numbers, "grpo", 0.1),
    ),
    "verl vanilla, token mean": verl(
        {"name": "vanilla", "mean": "token-mean", "clip_ratio_c": 3.0}, {"loss": "ppo", "dual_clip": 3.0}
    ),
    "verl vanilla, dual clip": verl(
        {"name": "vanilla", "mean": "token-mean", "clip_ratio_c": 1.3}, {"loss": "dapo", "dual_clip": 1.3}
    ),
    "verl vanilla, mean of means": verl(
        {"name": "vanilla", "mean": "seq-mean-token-mean"}, {"loss": "grpo", "dual_clip": 3.0}
    ),
    "verl vanilla, constant": verl(
        {"name": "vanilla", "mean": "seq-mean-token-sum-norm"}, {"loss": "dr_grpo", "dual_clip": 3.0}
    ),
    "verl gspo": verl({"name": "gspo", "mean": "seq-mean-token-mean"}, {"loss": "gspo"}),
    "verl cispo": verl({"name": "cispo", "mean": "token-mean"}, {"loss": "cispo"}),
    "verl GRPO advantages": credit(
        {"name": "grpo"},
        {"advantage": "grpo"},
        "1e-6 added to the standard deviation",
        changed=spread_with(1e-6),
    ),
    "verl Dr. GRPO advantages": credit(
        {"name": "grpo", "norm_adv_by_std_in_grpo": False}, {"advantage": "dr_grpo"}
    ),
    "verl REINFORCE++ advantages": credit(
        {"name": "reinforce_plus_plus"}, {"advantage": "reinforce_pp"}, WHITENED
    ),
    "verl REINFORCE++ advantages, gamma 0.9": credit(
        {"name": "reinforce_plus_plus", "gamma": 0.9}, {"advantage": "reinforce_pp", "gamma": 0.9}, WHITENED
    ),
    "verl REINFORCE++-baseline advantages": credit(
        {"name": "reinforce_plus_plus_baseline"}, {"advantage": "reinforce_pp_baseline"}, WHITENED
    ),
    **{
        f"verl GAE, gamma {gamma:g}, lambda {lam:g}": Mode(
            "verl",
            verl_gae,
            {"lam": lam, "gamma": gamma},
            our_gae,
            {"gae_lambda": lam, "gamma": gamma},
            WHITENED,
            inputs=Inputs.nonempty,
        )
        for gamma, lam in ((1.0, 1.0), (0.9, 0.8), (1.0, 0.0))
    },
    "verl RLOO advantages": credit({"name": "rloo"}, {"advantage": "rloo"}),
}


def compare(mode: Mode, inputs: Inputs, theirs: Numbers) -> dict[str, float]:
    """The largest difference; also before ours are changed to the peer's definition."""
    given = mode.inputs(inputs)
    ours = mode.ours(given, **mode.settings)
    changed = mode.changed(given, ours)
    return {
        "difference": max(float((changed[name] - theirs[name]).abs().max()) for name in theirs),
        "as_we_define_it": max(float((ours[name] - theirs[name]).abs().max()) for name in theirs),
    }


def main() -> int:
    sys.path.insert(0, str(HERE.parent))
    from machine import machine

    inputs, results = Inputs.drawn(), {}
    print(f"{'mode':34} {'difference':>12} {'as we define it':>16}")
    for name, mode in MODES.items():
        theirs = mode.theirs(mode.inputs(inputs), **mode.arguments)
        found = compare(mode, inputs, theirs)
        print(f"{name:34} {found['difference']:12.1e} {found['as_we_define_it']:16.1e}  {mode.definition}")
        results[name] = {
            "ours": mode.settings,
            "their_definition": mode.definition,
            **found,
            "theirs": {key: value.tolist() for key, value in theirs.items()},
        }
    record = {**machine("torch", "trl", "verl"), "inputs": inputs.to_json(), "modes": results}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    worst = max(result["difference"] for result in results.values())
    print(f"largest difference: {worst:.1e} in {len(results)} modes")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
