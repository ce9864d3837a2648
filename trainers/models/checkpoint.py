"""Checkpoints: the whole state that training resumes from, written whole or not at all, checked before
use."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ludus.tools.checksums import is_damaged, sealed, sha256_of
from ludus.tools.files import remove_folder
from ludus.trainers.disk import replacing
from ludus.trainers.errors import CheckpointError
from ludus.trainers.models.optimizer import Optimizer

_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_GENERATOR = "generator"
_PREFIX = "step-"

Trained = tuple[torch.nn.Module, Optimizer]
"""A module and its optimiser."""

FORMAT = 1
"""Of a checkpoint's files. Checkpoints without a format number have this format."""


@dataclass(frozen=True)
class Progress:
    """How far training has come; everything but tensors."""

    phase: str
    """`sft`, `rft`, `preferences` or `grpo`."""
    step: int
    """Steps of the phase that are done."""
    position: int
    """Position in the task stream: the seeds before it have been drawn."""


def save_checkpoint(
    directory: Path,
    number: int,
    progress: Progress,
    model: torch.nn.Module,
    optimizer: Optimizer,
    keep: int,
    others: Mapping[str, Trained] = {},
) -> Path:
    """Write `directory/step-NUMBER` and remove all but the last `keep`.

    The files are written to a temporary folder, flushed to the disk and renamed in one operation, so a
    process that is killed, or a disk that fills up, leaves the earlier checkpoints as they were.

    Args:
        others: What is trained beside the model, by name.

    Raises:
        RunError: if the disk is full or the folder cannot be written to.
    """
    target = directory / f"{_PREFIX}{number:06d}"
    with replacing(target) as folder:
        checksums = {
            _MODEL: _write_tensors(folder / _MODEL, model_tensors(model)),
            _OPTIMIZER: _write_tensors(
                folder / _OPTIMIZER, {**_optimizer_tensors(optimizer), **generators()}
            ),
        }
        for name, (other, its_optimizer) in others.items():
            for file, tensors in (
                (_MODEL, model_tensors(other)),
                (_OPTIMIZER, _optimizer_tensors(its_optimizer)),
            ):
                checksums[f"{name}-{file}"] = _write_tensors(folder / f"{name}-{file}", tensors)
        where = {"phase": progress.phase, "step": progress.step, "position": progress.position}
        state = sealed({"format": FORMAT, **where, "sha256": checksums})
        (folder / _STATE).write_text(json.dumps(state, indent=1))
    for old in checkpoints(directory)[:-keep]:
        remove_folder(old)
    return target


def load_checkpoint(
    path: Path,
    model: torch.nn.Module,
    optimizer: Optimizer,
    others: Mapping[str, Trained] = {},
) -> Progress:
    """Load a checkpoint's tensors into `model`, `optimizer` and `others`, and its generator state into torch.

    Raises:
        CheckpointError: if a file is missing, changed or cut short, is of another format, or does not fit the
            model. Nothing is changed then.
    """
    progress, checksums = _read_state(path)
    trained = {"": (model, optimizer), **{f"{name}-": other for name, other in others.items()}}
    tensors = {
        name: _read_tensors(path / name, checksums.get(name, ""))
        for prefix in trained
        for name in (prefix + _MODEL, prefix + _OPTIMIZER)
    }
    states = {}
    for prefix, (module, its_optimizer) in trained.items():
        _check_fit(path / (prefix + _MODEL), tensors[prefix + _MODEL], model_tensors(module))
        file = prefix + _OPTIMIZER
        states[prefix] = _optimizer_state(path / file, tensors[file], its_optimizer)
    for prefix, (module, its_optimizer) in trained.items():
        its_optimizer.load_state_dict({"state": states[prefix]})
        with torch.no_grad():
            for name, parameter in model_tensors(module).items():
                parameter.copy_(tensors[prefix + _MODEL][name])
    set_generators(tensors[_OPTIMIZER])
    return progress


def read_progress(path: Path) -> Progress:
    """The progress that a checkpoint holds, without loading its tensors.

    Raises:
        CheckpointError: if it cannot be read.
    """
    return _read_state(path)[0]


def checkpoints(directory: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first."""
    return sorted(directory.glob(f"{_PREFIX}[0-9]*"))


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: the parameters that are trained (tied ones once) and persistent buffers, by
    name."""
    parameters: dict[str, torch.Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    buffers = dict(model.named_buffers())
    persistent = model.state_dict().keys() & buffers.keys()
    return {**parameters, **{name: buffers[name] for name in sorted(persistent)}}


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Returns the file's SHA-256. Its content, as large as the optimizer's state, is never in memory."""
    safetensors.torch.save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path
    )
    return sha256_of(path)


def _read_tensors(path: Path, checksum: str) -> dict[str, torch.Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _corrupt(path, error.strerror or str(error)) from None
    if hashlib.sha256(content).hexdigest() != checksum:
        raise _corrupt(path, "its checksum is not the one it was written with")
    return safetensors.torch.load(content)


def _read_state(path: Path) -> tuple[Progress, dict[str, str]]:
    file = path / _STATE
    try:
        state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        written = state.get("format", FORMAT)
        damaged = is_damaged(state)
        progress = Progress(str(state["phase"]), int(state["step"]), int(state["position"]))
        checksums = dict(state["sha256"])
    except OSError as error:
        raise _corrupt(file, error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _corrupt(file, f"not what was written ({type(error).__name__})") from None
    if damaged:
        raise _corrupt(file, "its checksum is not the one it was written with")
    if written != FORMAT:
        raise CheckpointError(
            f"{path} is of checkpoint format {written}, but this version of Ludus reads format {FORMAT}: "
            "resume the run with the version that wrote it, or begin a new one"
        )
    return progress, checksums


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, slots in state.items() for name, tensor in slots.items()}


def _optimizer_state(
    path: Path, tensors: Mapping[str, torch.Tensor], optimizer: Optimizer
) -> dict[int, dict[str, torch.Tensor]]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, slot = key.partition(".")
        if index != _GENERATOR:
            state.setdefault(int(index), {})[slot] = tensor
    if state.keys() - set(range(len(parameters))):
        raise _corrupt(path, f"it is for {len(state)} parameters, the model has {len(parameters)}")
    for index, slots in optimizer.state_dict()["state"].items():
        if "master" in slots and "master" not in state.get(index, {}):
            raise _corrupt(path, "it has no float32 copy of the weights, which model.masters asks for")
    return state


def set_generators(tensors: Mapping[str, torch.Tensor]) -> None:
    """Put torch's generators into the states that `generators` gave."""
    torch.set_rng_state(tensors[f"{_GENERATOR}.cpu"])
    if f"{_GENERATOR}.cuda" in tensors:
        torch.cuda.set_rng_state(tensors[f"{_GENERATOR}.cuda"])


def generators() -> dict[str, torch.Tensor]:
    """The states of torch's generators, as a checkpoint holds them."""
    states = {f"{_GENERATOR}.cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states[f"{_GENERATOR}.cuda"] = torch.cuda.get_rng_state()
    return states


def _check_fit(path: Path, saved: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    for name in sorted(saved.keys() | wanted.keys()):
        have = tuple(saved[name].shape) if name in saved else None
        want = tuple(wanted[name].shape) if name in wanted else None
        if have != want:
            raise CheckpointError(
                f'{path} does not fit the model: "{name}" is {have} there and {want} in the model; '
                "resume with the configuration that the run began with"
            )


def _corrupt(path: Path, cause: str) -> CheckpointError:
    others = [other.name for other in checkpoints(path.parent.parent) if other != path.parent]
    fix = (
        f"remove {path.parent} to resume from {others[-1]}"
        if others
        else "begin the run anew in another folder"
    )
    return CheckpointError(f"{path} is missing or corrupt: {cause}; {fix}")
