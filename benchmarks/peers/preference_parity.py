"""Our losses of preference pairs beside TRL's `DPOTrainer`, on the same numbers.

    python benchmarks/peers/preference_parity.py

runs TRL's loss, prints by how much ours differ, and writes `benchmarks/results/preference_parity.json`:
inputs, TRL's loss and its gradient by token, and the largest difference of each mode. The tests compare ours
with that file, so they need no TRL. Everything is in float64. It takes an environment with Ludus and `pip
install trl==1.16.0`.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ludus.trainers.config.preferences import PreferencesSection
from ludus.trainers.losses.preference import batch_loss

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "preference_parity.json"
TOLERANCE = 1e-6
PAIRS, TOKENS = 5, 7
Numbers = dict[str, Tensor]
"""`loss`, and `gradient` with respect to each token's log-probability."""


@dataclass(frozen=True)
class Inputs:
    """Of P pairs the chosen sides, then the rejected ones: [2P, T]."""

    mask: Tensor
    """1 where the agent said the token; between them are others' in the conversations of several turns."""
    logprobs: Tensor
    reference_logprobs: Tensor

    @classmethod
    def drawn(cls, seed: int = 0) -> "Inputs":
        generator = torch.Generator().manual_seed(seed)
        shape = (2 * PAIRS, TOKENS)
        mask = (torch.rand(shape, generator=generator) < 0.7).double()
        mask[:, 0] = 1
        logprobs = -torch.rand(shape, generator=generator, dtype=torch.float64) * 4
        return cls(mask, logprobs, logprobs + torch.randn(shape, generator=generator, dtype=torch.float64))

    def to_json(self) -> dict[str, Any]:
        return {name: tensor.tolist() for name, tensor in vars(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Inputs":
        return cls(**{name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})

    def pair(self, index: int) -> "Inputs":
        """One alone."""
        rows = torch.tensor([index, index + len(self.mask) // 2])
        return Inputs(**{name: tensor[rows] for name, tensor in vars(self).items()})


def ours(inputs: Inputs, **settings: Any) -> Numbers:
    leaf = inputs.logprobs.clone().requires_grad_()

    def sides(values: Tensor) -> Tensor:
        return values.sum(1).view(2, -1).T

    tokens = sides(inputs.mask)
    value = batch_loss(
        PreferencesSection(**settings),
        sides(leaf * inputs.mask),
        sides(inputs.reference_logprobs * inputs.mask),
        tokens,
        len(tokens),
        int(tokens[:, 0].sum()),
    )
    (gradient,) = torch.autograd.grad(value, leaf)
    return {"loss": value.detach(), "gradient": gradient}


def theirs(inputs: Inputs, loss_type: Mapping[str, float], beta: float, smoothing: float = 0.0) -> Numbers:
    """`DPOTrainer._compute_loss`, with log-probabilities that are given instead of a model's.

    Args:
        loss_type: Its losses, each with its weight.
    """
    from trl.trainer.dpo_trainer import DPOTrainer

    leaf = inputs.logprobs.clone().requires_grad_()
    rest = torch.zeros_like(leaf)

    answer = SimpleNamespace(
        log_probs=leaf * inputs.mask, entropy=rest, mean_logits=rest, is_top1=rest.bool()
    )

    class Model:
        training = True

        def __call__(self, **_: Any) -> Any:
            return answer

    def gathered(values: Tensor) -> Tensor:
        return values

    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu", gather=gathered, gather_for_metrics=gathered),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        aux_loss_enabled=False,
        beta=beta,
        f_divergence_type="reverse_kl",
        label_smoothing=smoothing,
        ld_alpha=None,
        loss_types=list(loss_type),
        loss_weights=list(loss_type.values()),
        model=SimpleNamespace(training=True),
        precompute_ref_logps=True,
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    prompt = torch.zeros(len(leaf), 1, dtype=torch.float64)
    before = (inputs.reference_logprobs * inputs.mask).sum(1)
    chosen, rejected = before.chunk(2)
    value = DPOTrainer._compute_loss(
        trainer,
        Model(),
        {
            "input_ids": torch.zeros(len(leaf), TOKENS + 1, dtype=torch.int64),
            "attention_mask": torch.ones(len(leaf), TOKENS + 1),
            "completion_mask": torch.cat([prompt, inputs.mask], 1),
            "ref_chosen_logps": chosen,
            "ref_rejected_logps": rejected,
        },
        return_outputs=False,
    )
    (gradient,) = torch.autograd.grad(value, leaf)
    return {"loss": value.detach(), "gradient": gradient}


def pair_by_pair(inputs: Inputs, **arguments: Any) -> Numbers:
    """The mean over pairs that are each a batch of their own."""
    count = len(inputs.mask) // 2
    found = [theirs(inputs.pair(index), **arguments) for index in range(count)]
    gradient = torch.zeros_like(inputs.logprobs)
    for index, numbers in enumerate(found):
        gradient[[index, index + count]] = numbers["gradient"] / count
    return {"loss": torch.stack([numbers["loss"] for numbers in found]).mean(), "gradient": gradient}


@dataclass(frozen=True)
class Mode:
    arguments: dict[str, Any]
    settings: dict[str, Any]
    note: str = ""
    alone: bool = False
    """TRL's is taken pair by pair."""


MODES = {
    "sigmoid": Mode({"loss_type": {"sigmoid": 1.0}, "beta": 0.3}, {"loss": "dpo", "beta": 0.3}),
    "sigmoid_norm": Mode(
        {"loss_type": {"sigmoid_norm": 1.0}, "beta": 2.0},
        {"loss": "dpo", "beta": 2.0, "length_normalised": True},
    ),
    "aot, a pair at a time": Mode(
        {"loss_type": {"aot": 1.0}, "beta": 0.3, "smoothing": 0.1},
        {"loss": "dpo", "beta": 0.3, "label_smoothing": 0.1},
        "TRL has label smoothing in the form of cDPO in this loss alone, which sorts a batch's margins",
        alone=True,
    ),
    "ipo": Mode(
        {"loss_type": {"ipo": 1.0}, "beta": 0.3},
        {"loss": "ipo", "beta": 0.3, "length_normalised": True},
        "TRL's is always by token",
    ),
    "sigmoid and sft": Mode(
        {"loss_type": {"sigmoid": 1.0, "sft": 0.7}, "beta": 0.3},
        {"loss": "dpo", "beta": 0.3, "sft_coefficient": 0.7},
    ),
}


def difference(mode: Mode, inputs: Inputs, recorded: Numbers) -> float:
    """The largest."""
    found = ours(inputs, **mode.settings)
    return max(float((found[name] - recorded[name]).abs().max()) for name in recorded)


def main() -> int:
    sys.path.insert(0, str(HERE.parent))
    from machine import machine

    inputs, results = Inputs.drawn(), {}
    for name, mode in MODES.items():
        recorded = (pair_by_pair if mode.alone else theirs)(inputs, **mode.arguments)
        found = difference(mode, inputs, recorded)
        print(f"{name:24} {found:10.1e}  {mode.note}")
        results[name] = {
            "ours": mode.settings,
            "note": mode.note,
            "difference": found,
            "theirs": {key: value.tolist() for key, value in recorded.items()},
        }
    record = {**machine("torch", "trl"), "inputs": inputs.to_json(), "modes": results}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    worst = max(result["difference"] for result in results.values())
    print(f"largest difference: {worst:.1e} in {len(results)} modes")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
