"""Checkpoints: all that training goes on from, written whole or not at all, checked before it is used."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ludus.trainers.errors import CheckpointError, RunError

_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_GENERATOR = "generator"
_PREFIX = "step-"


@dataclass(frozen=True)
class Progress:
    """Where training stands, besides tensors."""

    phase: str
    """`sft` or `grpo`."""
    step: int
    """Steps of the phase that are done."""
    position: int
    """Of the task stream: the seeds before it were drawn."""


def save_checkpoint(
    directory: Path,
    number: int,
    progress: Progress,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    keep: int,
) -> Path:
    """Write `directory/step-NUMBER` and remove all but the last `keep`.

    The files are written to a temporary folder, flushed to the disk and renamed in one operation, so a
    process that is killed, or a disk that fills up, leaves the earlier checkpoints as they were.

    Raises:
        RunError: if the disk is full or the folder cannot be written to.
    """
    target = directory / f"{_PREFIX}{number:06d}"
    with replacing(target) as folder:
        checksums = {
            _MODEL: _write_tensors(folder / _MODEL, model_tensors(model)),
            _OPTIMIZER: _write_tensors(folder / _OPTIMIZER, _optimizer_tensors(optimizer)),
        }
        state = {"phase": progress.phase, "step": progress.step, "position": progress.position}
        _write(folder / _STATE, json.dumps({**state, "sha256": checksums}, indent=1).encode())
    for old in checkpoints(directory)[:-keep]:
        _remove(old)
    return target


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a checkpoint's tensors into `model` and `optimizer`, and its generator's state into torch's.

    Raises:
        CheckpointError: if a file is missing, changed or cut short, or does not fit the model. Nothing is
            changed then.
    """
    progress, checksums = _read_state(path)
    tensors = {name: _read_tensors(path / name, checksums.get(name, "")) for name in (_MODEL, _OPTIMIZER)}
    _check_fit(path / _MODEL, tensors[_MODEL], model_tensors(model))
    _load_optimizer(path / _OPTIMIZER, tensors[_OPTIMIZER], optimizer)
    with torch.no_grad():
        for name, parameter in model_tensors(model).items():
            parameter.copy_(tensors[_MODEL][name])
    return progress


def read_progress(path: Path) -> Progress:
    """Where a checkpoint stands, without loading its tensors.

    Raises:
        CheckpointError: if that cannot be read.
    """
    return _read_state(path)[0]


def checkpoints(directory: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first."""
    return sorted(directory.glob(f"{_PREFIX}[0-9]*"))


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters (one that is tied counts once) and persistent buffers, by name."""
    parameters: dict[str, torch.Tensor] = dict(model.named_parameters())
    buffers = dict(model.named_buffers())
    persistent = model.state_dict().keys() & buffers.keys()
    return {**parameters, **{name: buffers[name] for name in sorted(persistent)}}


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target` in one rename once it is complete and on the disk.

    Raises:
        RunError: if the disk is full or cannot be written to; `target` is then as it was.
    """
    scratch = target.parent / f".{target.name}.partial"
    with disk_errors(target):
        shutil.rmtree(scratch, ignore_errors=True)  # left by a process that was killed
        target.parent.mkdir(exist_ok=True)  # no parents: a run's folder that was removed is missed
        scratch.mkdir()
        try:
            yield scratch
            for path in scratch.rglob("*"):
                _flush(path)
            _flush(scratch)
            if target.exists():
                _remove(target)
            scratch.rename(target)
            _flush(target.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def write_file(target: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        RunError: as `replacing`.
    """
    scratch = target.parent / f".{target.name}.partial"
    with disk_errors(target):
        try:
            _write(scratch, content)
            _flush(scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a failure to write into one line that names what was written and what to do."""
    try:
        yield
    except safetensors.SafetensorError as error:
        if "Error while serializing" not in str(error):
            raise
        raise RunError(f"{target} could not be written: {error}; {_mend(str(error))}") from error
    except OSError as error:
        raise RunError(f"{target} could not be written: {error.strerror or error}; {_mend(error)}") from error


def clear_leftovers(run: Path) -> None:
    """Remove what a process was writing, or removing, when it was killed. No other may be at work there."""
    for path in sorted(run.rglob(".*")):
        if path.suffix in (".partial", ".removed"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.suffix == ".tmp":
            path.unlink()


def _mend(error: OSError | str) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return "its folder was removed or renamed meanwhile: put it back and go on with --resume"
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    is_full = "StorageFull" in error if isinstance(error, str) else error.errno in full
    cause = "free some space" if is_full else "check the folder's permissions and disk"
    return f"{cause} and go on with --resume; what was saved before is intact"


def _remove(folder: Path) -> None:
    """Remove a folder so that no half-removed one can be taken for a whole one."""
    doomed = folder.parent / f".{folder.name}.removed"
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Returns the file's SHA-256."""
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    )
    _write(path, content)
    return hashlib.sha256(content).hexdigest()


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
        state: dict[str, Any] = json.loads(file.read_text())
        progress = Progress(str(state["phase"]), int(state["step"]), int(state["position"]))
        return progress, dict(state["sha256"])
    except OSError as error:
        raise _corrupt(file, error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _corrupt(file, f"not what was written ({type(error).__name__})") from None


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    tensors = {f"{index}.{name}": tensor for index, slots in state.items() for name, tensor in slots.items()}
    return {**tensors, **_generators()}


def _load_optimizer(path: Path, tensors: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, slot = key.partition(".")
        if index != _GENERATOR:
            state.setdefault(int(index), {})[slot] = tensor
    if state.keys() - set(range(len(parameters))):
        raise _corrupt(path, f"it is for {len(state)} parameters, the model has {len(parameters)}")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors[f"{_GENERATOR}.cpu"])
    if f"{_GENERATOR}.cuda" in tensors:
        torch.cuda.set_rng_state(tensors[f"{_GENERATOR}.cuda"])


def _generators() -> dict[str, torch.Tensor]:
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
