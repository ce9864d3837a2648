"""A run's model, tasks and settings, laid out for TRL, which trains on them in its own environment
(`pip install torch==2.13.0 trl==1.16.0 peft==0.21.2 datasets`) by `peers/trl_grpo.py`."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ludus.agents.models import load_model
from ludus.agents.rollout import EnvironmentSpec
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import all_levels
from ludus.trainers.mixture import mixture_of
from ludus.trainers.tasks import TaskStream, hold_out_tasks

SCRIPT = Path(__file__).parent / "peers" / "trl_grpo.py"


def lay_out(folder: Path, config: RunConfig, model: Path, answer: str) -> None:
    """Write the model, the prompts of the run's steps, and the settings, as TRL's script reads them.

    Args:
        model: a folder in `transformers`' form.
        answer: a regular expression whose last match in a reply has the answer in its first group.
    """
    loaded = load_model(model)
    (folder / "model").symlink_to(model.resolve())
    prompts = [prompt(loaded.format, loaded.tokenizer, *task) for task in tasks(config)]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    adapter = config.adapter
    about = {
        "groups": config.grpo.groups,
        "group_size": config.grpo.group_size,
        "max_tokens": config.rollout.max_tokens,
        "learning_rate": config.grpo.learning_rate,
        "warmup_steps": config.grpo.warmup_steps,
        "steps": config.grpo.steps,
        "seed": config.run.seed,
        "stop_id": min(loaded.format.stop_ids),
        "answer": answer,
        "adapter": adapter and {"rank": adapter.rank, "alpha": adapter.alpha},
    }
    (folder / "settings.json").write_text(json.dumps(about))


def tasks(config: RunConfig) -> list[tuple[EnvironmentSpec, int]]:
    """The tasks of the run's GRPO steps, in order."""
    mixture = mixture_of(config)
    stream = TaskStream(mixture, config.run.seed, "grpo", hold_out_tasks(mixture, config).keys)
    drawn = [stream.take(config.grpo.groups, all_levels(mixture), step) for step in range(config.grpo.steps)]
    return [(task.spec, task.seed) for step in drawn for task in step]


def prompt(form: Any, tokenizer: Any, spec: EnvironmentSpec, seed: int) -> dict[str, str]:
    """The first prompt of an episode, as text, and the answer."""
    env = spec.make()
    messages, _ = env.reset(seed=seed)
    ids = list(form.first_prompt(messages).ids)
    text = tokenizer.decode(ids)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids, text
    unwrapped: Any = env.unwrapped
    return {"prompt": text, "answer": str(unwrapped.verdict.expected)}


def train_by_trl(folder: Path, python: Path, threads: int, batch: int) -> dict[str, Any]:
    """Train, by a fresh process; what was trained is left in `folder/trained`.

    Args:
        python: the interpreter of TRL's environment.
        batch: rows of one forward pass.

    Returns:
        `seconds` and `success` of each step, and `peak_bytes`, the largest resident size.
    """
    command = [str(python), str(SCRIPT), str(folder), str(threads), str(batch)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    return dict(json.loads(told.splitlines()[-1]))
