"""Checkpoints: whole or not at all, checked before use, an earlier one never spoiled by a later one."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import nn

from ludus.tools.checksums import sealed
from ludus.tools.files import sweep
from ludus.trainers.config.sft import SftSection
from ludus.trainers.disk import write_file
from ludus.trainers.errors import CheckpointError, RunError
from ludus.trainers.models.checkpoint import (
    Progress,
    checkpoints,
    load_checkpoint,
    model_tensors,
    read_progress,
    save_checkpoint,
)
from ludus.trainers.models.optimizer import Optimizer, apply_gradients, build_optimizer


class Tied(nn.Module):
    """Two linear layers, one of whose weights is tied to an embedding."""

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(6, width)
        self.middle = nn.Linear(width, width)
        self.head = nn.Linear(width, 6, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.ones(1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.embedding(ids)) * self.scale)


Trained = tuple[Tied, Optimizer]


def trained(seed: int = 0, steps: int = 3) -> Trained:
    model = Tied(seed)
    optimizer = build_optimizer(model, SftSection())
    train(model, optimizer, steps)
    return model, optimizer


def train(model: Tied, optimizer: Optimizer, steps: int) -> None:
    for _ in range(steps):
        ids = torch.randint(6, (5,))  # from torch's generator, whose state is part of the checkpoint
        nn.functional.cross_entropy(model(ids), ids).backward()
        apply_gradients(optimizer, 1e-2, 1.0)


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in model_tensors(model).items()}


def save(directory: Path, number: int, state: Trained, keep: int = 2) -> Path:
    return save_checkpoint(directory, number, Progress("sft", number, 7), *state, keep=keep)


def test_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    state = trained()
    path = save(tmp_path, 3, state)
    train(*state, steps=4)
    other = trained(seed=9)
    assert load_checkpoint(path, *other) == Progress("sft", 3, 7)
    train(*other, steps=4)
    assert bits(other[0]) == bits(state[0])


def test_a_tied_weight_is_saved_once_and_stays_tied(tmp_path: Path) -> None:
    model, optimizer = trained()
    assert sorted(model_tensors(model)) == ["embedding.weight", "middle.bias", "middle.weight", "scale"]
    load_checkpoint(save(tmp_path, 1, (model, optimizer)), model, optimizer)
    assert model.head.weight is model.embedding.weight


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    state = trained()
    for number in (2, 4, 6, 8):
        save(tmp_path, number, state, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000006", "step-000008"]
    assert {path.name for path in tmp_path.iterdir()} == {"step-000006", "step-000008"}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_a_corrupt_file_is_named_with_the_way_out(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, 1, trained())
    path = save(tmp_path, 2, trained())
    content = (path / name).read_bytes()
    match damage:
        case "changed":
            middle = len(content) // 2
            (path / name).write_bytes(
                content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
            )
        case "cut":
            (path / name).write_bytes(content[: len(content) // 2])
        case "missing":
            (path / name).unlink()
    model, optimizer = trained(seed=5)
    before, generator = bits(model), torch.get_rng_state()
    with pytest.raises(
        CheckpointError, match=r"step-000002/.* corrupt: .*remove .* to resume from step-000001"
    ):
        load_checkpoint(path, model, optimizer)
    assert bits(model) == before
    assert torch.equal(torch.get_rng_state(), generator)


def test_progress_is_checked_too(tmp_path: Path) -> None:
    path = save(tmp_path, 1, trained())
    assert read_progress(path) == Progress("sft", 1, 7)
    state = json.loads((path / "state.json").read_text())
    for step in ("soon", float("inf"), None):
        (path / "state.json").write_text(json.dumps({**state, "step": step}))
        with pytest.raises(CheckpointError, match="begin the run anew"):
            read_progress(path)


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    path = save(tmp_path, 1, trained())
    wider = Tied(width=8)
    with pytest.raises(
        CheckpointError, match=r'does not fit the model: "embedding.weight" is \(6, 4\) there'
    ):
        load_checkpoint(path, wider, build_optimizer(wider, SftSection()))


def test_a_full_disk_leaves_the_earlier_checkpoint_intact(
    tmp_path: Path, files_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    state = trained()
    first = save(tmp_path, 1, state, keep=1)
    saved = bits(state[0])
    train(*state, steps=1)
    refused = pytest.raises(RunError, match=r"step-000002 could not be written: .*free some space.*--resume")
    with refused, files_at_most(100):
        save(tmp_path, 2, state, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    load_checkpoint(first, *state)
    assert bits(state[0]) == saved


def test_a_full_disk_leaves_a_file_as_it_was(
    tmp_path: Path, files_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    write_file(tmp_path / "a.json", b"old")
    with pytest.raises(RunError, match=r"a\.json could not be written"), files_at_most(100):
        write_file(tmp_path / "a.json", b"new" * 100)
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_behind_is_no_checkpoint(tmp_path: Path) -> None:
    state = trained()
    partial = tmp_path / ".step-000002.7.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert checkpoints(tmp_path) == []
    save(tmp_path, 2, state)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000002"]
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]


def test_a_checkpoint_of_another_format_says_so(tmp_path: Path) -> None:
    path = save(tmp_path, 1, trained())
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(sealed({**state, "format": 2})))
    with pytest.raises(CheckpointError, match="is of checkpoint format 2, but this version of Ludus reads"):
        read_progress(path)


def test_a_flipped_digit_in_a_checkpoints_state_shows(tmp_path: Path) -> None:
    path = save(tmp_path, 1, trained())
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "position": state["position"] + 1}))
    with pytest.raises(CheckpointError, match=r"state\.json is missing or corrupt: its checksum"):
        read_progress(path)
