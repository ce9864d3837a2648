"""What a run's process takes beside its model: Python, packages, environments, a tokenizer, the engine's
kernels, metrics, the report, and what allocators keep. Nothing says that but trying: a fresh process makes
the run with the smallest model and the shortest completions, whose bytes can be counted."""

import copy
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from transformers import AutoConfig, MistralConfig, PreTrainedConfig

from ludus.agents.adapters.lora import ALL_LINEAR
from ludus.agents.engines.fused import MODELS, FusedForward
from ludus.agents.models import auto_model, load_tokenizer, quiet_transformers
from ludus.agents.picture_ids import FAMILIES
from ludus.agents.sight import let_see, save_reader
from ludus.tools.errors import UserError
from ludus.tools.section import Section
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.trust import TrustSection
from ludus.trainers.plan.models import Source

_PROGRAM = """
from ludus.report import write_report
from ludus.trainers.plan.process import _tell
_tell(write_report)
"""
"""What `ludus train` does, which is of a higher floor."""
_TOKENS = 64
"""Of a completion."""
SectionT = TypeVar("SectionT", bound=Section)


def process_bytes(config: RunConfig, source: Source, counted: Callable[[RunConfig, Source], int]) -> int:
    """The most that a process has resident in the smallest such run, without what is counted of that.

    Args:
        source: Of the model, for its tokenizer and its class.
        counted: Bytes of a run with such a model, without its process.

    Raises:
        UserError: the run ended.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save_smallest_model(source, folder)
        smallest = smallest_run(config, folder)
        return _peak(smallest, Path(scratch) / "run") - counted(smallest, Source(folder, folder))


def smallest_run(config: RunConfig, model: Path) -> RunConfig:
    """The same phases, each with one step of as many episodes, which are short, by a model in a folder. Its
    checks only warn: such a run learns nothing."""

    def changed(section: SectionT, **values: Any) -> SectionT:
        known = {name: value for name, value in values.items() if name in type(section).model_fields}
        return section.model_copy(update=known)

    least = {"warmup_steps": 0, "rate_factors": {}, "max_skipped": 8}
    lead = None if config.critic is None else changed(config.critic, lead_steps=0, path="", **least)
    target = None if config.adapter is None else changed(config.adapter, targets=[ALL_LINEAR])
    checks = [name for name in TrustSection.model_fields if name != "warn"]
    tokens = min(config.rollout.max_tokens, _TOKENS)
    return config.model_copy(
        update={
            "run": changed(config.run, workers=1),
            "model": changed(config.model, path=str(model)),
            "adapter": target,
            "sft": changed(
                config.sft,
                steps=int(bool(config.sft.steps or config.sft.epochs)),
                epochs=0.0,
                demonstrations=min(config.sft.demonstrations, config.sft.batch_episodes),
                heldout_demonstrations=1,
                **least,
            ),
            "rft": changed(config.rft, iterations=min(1, config.rft.iterations), steps=1, **least),
            "preferences": changed(config.preferences, steps=min(1, config.preferences.steps), **least),
            "grpo": changed(
                config.grpo,
                steps=min(1, config.grpo.steps),
                overlong_tokens=min(config.grpo.overlong_tokens, tokens),
                # Where all earn the same, there is still a gradient, whose computing takes memory.
                entropy_coefficient=config.grpo.entropy_coefficient or 1e-3,
                **least,
            ),
            "critic": lead,
            "rollout": changed(config.rollout, max_tokens=tokens),
            "evaluation": changed(config.evaluation, episodes=min(8, config.evaluation.episodes), samples=1),
            "validation": changed(config.validation, every=0),
            "trust": changed(config.trust, warn=checks),
        }
    )


def save_smallest_model(source: Source, folder: Path) -> None:
    """A new model with the tokenizer of another; of its class, if the engine has kernels for that or it sees
    pictures, which are then of as many tokens."""
    settings = AutoConfig.from_pretrained(source.base, local_files_only=True)
    tokenizer, sees = load_tokenizer(source.folder), settings.model_type in FAMILIES
    text = settings.get_text_config()
    has_kernels = bool(MODELS & set(settings.architectures or ()))
    kind: type[PreTrainedConfig] = type(settings) if has_kernels else MistralConfig
    smallest = (
        _smallest_that_sees(settings)
        if sees
        else kind(
            vocab_size=text.vocab_size,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=text.max_position_embeddings,
            tie_word_embeddings=True,
            bos_token_id=text.bos_token_id,
            eos_token_id=text.eos_token_id,
            pad_token_id=text.pad_token_id,
        )
    )
    with quiet_transformers():
        model = auto_model(transformers, smallest.model_type).from_config(smallest, dtype=torch.float32)
        model.save_pretrained(folder)
        if sees:
            let_see(model, tokenizer, source.base)
            save_reader(model, folder)
    tokenizer.save_pretrained(folder)
    if has_kernels:
        FusedForward(model)  # compiled in this process, if not before: that takes more than using them


def _smallest_that_sees(settings: PreTrainedConfig) -> PreTrainedConfig:
    smallest = copy.deepcopy(settings)
    text, vision = smallest.text_config, smallest.vision_config
    # Rotations may be in sections of a head's numbers, of which there are as many therefore.
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    shared = {"intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    of_text = {"hidden_size": 2 * head, "num_key_value_heads": 1, "layer_types": ["full_attention"] * 2}
    layers = {"deepstack_visual_indexes": [0], "fullatt_block_indexes": [1]}
    of_vision = {"hidden_size": 64, "out_hidden_size": 2 * head, **layers}
    for part, sizes in ((text, shared | of_text), (vision, shared | of_vision)):
        for name, size in sizes.items():
            if hasattr(part, name):
                setattr(part, name, size)
    return smallest


def _peak(config: RunConfig, run: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=pickle.dumps((config, run, sys.path)), capture_output=True
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError(
            f"the memory of a process cannot be measured: the smallest run ended with {done.returncode} "
            f"({last[0] if last else 'no message'}); does `ludus train` with a few steps work?"
        )
    return int(done.stdout.split()[-1])


def peak_bytes() -> int:
    """The most that this process ever had resident."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise KeyError("VmHWM")


def _tell(report: Callable[[Path], object]) -> None:
    config, run, path = pickle.loads(sys.stdin.buffer.read())
    sys.path[:] = path
    from ludus.trainers.run.job import train

    train(config, run)
    report(run)
    print(peak_bytes())
