"""GRPO by TRL, for `benchmarks/beside_trl.py`, which runs this file in TRL's environment.

    python trl_grpo.py FOLDER THREADS BATCH

FOLDER holds `model/`, `prompts.json` ([{"prompt": …, "answer": …}], one for each group, step after step) and
`settings.json`. What was trained is left in `FOLDER/trained`. Prints the seconds of each step, the share of
right answers and the process's largest resident size, as JSON.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Clock(TrainerCallback):
    """Notes when each step begins and ends."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def main() -> None:
    folder, threads, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    settings = json.loads((folder / "settings.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    tokenizer.eos_token_id = settings["stop_id"]
    model.generation_config.eos_token_id = settings["stop_id"]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    pattern = re.compile(settings["answer"])
    adapter = settings["adapter"]
    right: list[float] = []

    def reward(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        found = [pattern.findall(text) for text in completions]
        earned = [float(said[-1:] == [wanted]) for said, wanted in zip(found, answer, strict=True)]
        right.append(sum(earned) / len(earned))
        return earned

    episodes = settings["groups"] * settings["group_size"]
    clock = Clock()
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        train_dataset=Dataset.from_list(json.loads((folder / "prompts.json").read_text())),
        callbacks=[clock],
        peft_config=adapter
        and LoraConfig(r=adapter["rank"], lora_alpha=adapter["alpha"], target_modules="all-linear"),
        args=GRPOConfig(
            output_dir=str(folder / "trl"),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=episodes // batch,
            num_generations=settings["group_size"],
            max_completion_length=settings["max_tokens"],
            max_steps=settings["steps"],
            learning_rate=settings["learning_rate"],
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=settings["warmup_steps"],
            seed=settings["seed"],
            beta=0.0,
            temperature=1.0,
            shuffle_dataset=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
    )
    trainer.train()
    trainer.save_model(str(folder / "trained"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": clock.seconds, "success": right, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
