"""One GRPO forward and backward on ragged rows: Ludus, TRL on padded rows, and plain torch row by row.

    python benchmarks/grpo_step.py --trl-python /path/to/venv/bin/python

TRL runs in its own environment (`pip install torch==2.13.0 trl==1.16.0`); without the option it is left out.
Weights, rows, advantages and old log-probabilities are made once, from a seed, and every contestant reads
them from the same files. The loss is that of `grpo` (mean over rows of each row's mean), with clipping that
takes effect. Each contestant runs in a fresh process on two threads. Time: median over the steps after the
first. Memory: the kernel's peak resident size (VmHWM in /proc/self/status) over all steps, less the resident
size before them, when the model is loaded and a forward and backward on four tokens has loaded the code.
Gradients have been freed by then, so they count.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

PROMPT, LONGEST = 64, 448
COMPLETIONS = (448, 64, 288, 160, 384, 32, 240, 176)
"""Lengths of the eight completions: half of 8 × 448 is padding."""
WORDS = 32_768
CLIP_LOW, CLIP_HIGH = 0.2, 0.28
THREADS = 2
LIMITS = {"seconds": 1.3, "peak_gib": 0.4, "loss_difference": 1e-6}
PACKAGES = {"ludus": ["ludus"], "plain": [], "trl": ["trl"]}
GIB = 2**30


def make_inputs(folder: Path) -> None:
    """A random model whose logits are spread like a trained one's, and a batch a few updates off-policy."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=WORDS,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = Qwen3ForCausalLM(config).eval()
    model.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, WORDS, PROMPT + n) for n in COMPLETIONS]
    old = []
    with torch.no_grad():
        for row in rows:
            logprobs = plain_logprobs(model, torch.tensor(row))
            old.append(logprobs.numpy() + rng.normal(0.0, 0.15, len(logprobs)).astype(np.float32))
    np.savez(
        folder / "batch.npz",
        ids=np.concatenate(rows),
        old_logprobs=np.concatenate(old),
        advantages=rng.normal(size=len(rows)).astype(np.float32),
    )


def read_inputs(folder: Path) -> tuple[Any, list[np.ndarray], list[np.ndarray], np.ndarray]:
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    batch = np.load(folder / "batch.npz")
    rows = np.split(batch["ids"], np.cumsum([PROMPT + n for n in COMPLETIONS])[:-1])
    old = np.split(batch["old_logprobs"], np.cumsum(COMPLETIONS)[:-1])
    return model, rows, old, batch["advantages"]


def plain_logprobs(model: Any, row: torch.Tensor) -> torch.Tensor:
    """log_softmax of the full logits at the completion."""
    logits = model(input_ids=row[None], use_cache=False).logits[0, PROMPT - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, row[PROMPT:, None]).squeeze(1)


def ludus_step(folder: Path, token_budget: int | None) -> tuple[Any, Callable[[], float]]:
    from ludus.agents.episode import TrainingSequence
    from ludus.kernels import grpo_loss, token_weights
    from ludus.trainers.batches.packing import DEFAULT_TOKEN_BUDGET, flat_logprobs, pack, sampled_counts
    from ludus.trainers.models.forward import score

    model, ids, old, advantages = read_inputs(folder)
    rows = [
        TrainingSequence(
            tuple(row.tolist()),
            (False,) * PROMPT + (True,) * len(logprobs),
            (0.0,) * PROMPT + tuple(logprobs.tolist()),
        )
        for row, logprobs in zip(ids, old, strict=True)
    ]
    advantages_R = torch.tensor(advantages)

    def step() -> float:
        weights_R = token_weights("sequence_mean", sampled_counts(rows))
        old_S = flat_logprobs(rows)
        total = 0.0
        for part in pack(rows, token_budget or DEFAULT_TOKEN_BUDGET):
            scored = score(model, part, temperature=1.0)
            loss, _ = grpo_loss(
                scored.logprobs,
                old_S[part.token_N],
                advantages_R[part.row_N],
                weights_R[part.row_N],
                clip_low=CLIP_LOW,
                clip_high=CLIP_HIGH,
            )
            loss.backward()
            total += loss.item()
        return total

    return model, step


def plain_step(folder: Path) -> tuple[Any, Callable[[], float]]:
    model, ids, old, advantages = read_inputs(folder)
    rows = [torch.tensor(row) for row in ids]

    def step() -> float:
        total = 0.0
        for row, old_logprobs, advantage in zip(rows, old, advantages.tolist(), strict=True):
            ratio = (plain_logprobs(model, row) - torch.tensor(old_logprobs)).exp()
            clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
            loss = -torch.minimum(ratio * advantage, clipped * advantage).mean() / len(rows)
            loss.backward()
            total += loss.item()
        return total

    return model, step


def trl_step(folder: Path) -> tuple[Any, Callable[[], float]]:
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    model, ids, old, advantages = read_inputs(folder)
    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<pad>")),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=len(ids),
            num_generations=len(ids),
            max_completion_length=LONGEST,
            loss_type="grpo",
            beta=0.0,
            epsilon=CLIP_LOW,
            epsilon_high=CLIP_HIGH,
            temperature=1.0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_dict({"prompt": ["<bos>"] * len(ids)}),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    longest = max(COMPLETIONS)
    completion_ids = torch.zeros(len(ids), longest, dtype=torch.long)
    completion_mask = torch.zeros(len(ids), longest, dtype=torch.long)
    old_logprobs = torch.zeros(len(ids), longest)
    for i, (row, logprobs) in enumerate(zip(ids, old, strict=True)):
        completion_ids[i, : len(logprobs)] = torch.tensor(row[PROMPT:])
        completion_mask[i, : len(logprobs)] = 1
        old_logprobs[i, : len(logprobs)] = torch.tensor(logprobs)
    prompt_ids = torch.tensor(np.stack([row[:PROMPT] for row in ids]))
    inputs = {
        "prompt_ids": prompt_ids,
        "prompt_mask": torch.ones_like(prompt_ids),
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "old_per_token_logps": old_logprobs,
        "advantages": torch.tensor(advantages),
        "num_items_in_batch": completion_mask.sum(),
    }

    def step() -> float:
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        return loss.item()

    return trainer.model, step


def resident(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def measure(contestant: str, folder: Path, steps: int, token_budget: int | None) -> dict[str, Any]:
    torch.set_num_threads(THREADS)
    match contestant:
        case "ludus":
            model, step = ludus_step(folder, token_budget)
        case "trl":
            model, step = trl_step(folder)
        case _:
            model, step = plain_step(folder)
    model.train()
    model(input_ids=torch.tensor([[3, 4, 5, 6]])).logits.sum().backward()
    model.zero_grad(set_to_none=True)
    baseline = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    seconds, losses = [], []
    for _ in range(steps + 1):
        model.zero_grad(set_to_none=True)
        begun = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - begun)
    squares = sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None)
    return {
        "contestant": contestant,
        "loss": losses[0],
        "grad_norm": squares**0.5,
        "seconds": statistics.median(seconds[1:]),
        "seconds_all": seconds,
        "peak_gib": (resident("VmHWM") - baseline) / GIB,
        "machine": machine("torch", "transformers", *PACKAGES[contestant]),
    }


def run(python: str, contestant: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [python, __file__, "--contestant", contestant, "--folder", str(folder)]
    command += ["--steps", str(arguments.steps)]
    if arguments.token_budget:
        command += ["--token-budget", str(arguments.token_budget)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl-python", help="the interpreter of an environment that has TRL")
    parser.add_argument("--steps", type=int, default=7, help="timed steps per contestant")
    parser.add_argument(
        "--token-budget", type=int, help="tokens per micro-batch (Ludus); its default if left out"
    )
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        result = measure(arguments.contestant, arguments.folder, arguments.steps, arguments.token_budget)
        print(json.dumps(result))
        return

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_inputs(folder)
        results = [run(sys.executable, name, folder, arguments) for name in ("ludus", "plain")]
        if arguments.trl_python:
            results.append(run(arguments.trl_python, "trl", folder, arguments))
    print(f"{'':10}{'seconds':>10}{'GiB':>8}{'loss':>16}{'grad norm':>14}")
    for r in results:
        print(
            f"{r['contestant']:10}{r['seconds']:10.2f}{r['peak_gib']:8.2f}{r['loss']:16.9f}{r['grad_norm']:14.6f}"
        )
    ours, *others = results
    difference = max(abs(ours["loss"] - other["loss"]) for other in others)
    reached = {"seconds": ours["seconds"], "peak_gib": ours["peak_gib"], "loss_difference": difference}
    for name, limit in LIMITS.items():
        print(
            f"{name}: {reached[name]:.3g}, limit {limit:g}: {'met' if reached[name] <= limit else 'MISSED'}"
        )
    shape = {"prompt": PROMPT, "completions": COMPLETIONS, "words": WORDS, "threads": THREADS}
    out = Path(__file__).parent / "results" / "grpo_step.json"
    out.write_text(
        json.dumps({"limits": LIMITS, "reached": reached, "shape": shape, "results": results}, indent=2)
        + "\n"
    )
    print(f"written to {out}")


if __name__ == "__main__":
    main()
