"""Our losses and advantages against the numbers that TRL's and verl's own functions gave.

`benchmarks/peers/loss_parity.py` recorded them; it says how.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ludus.trainers.advantages.registry import ADVANTAGES
from ludus.trainers.losses.registry import LOSSES

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers" / "loss_parity.py"
RECORD = json.loads((SCRIPT.parents[1] / "results" / "loss_parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def parity() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("loss_parity", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loss_parity"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["loss_parity"]


@pytest.mark.parametrize("name", RECORD["modes"])
def test_ours_are_theirs(parity: ModuleType, name: str) -> None:
    mode, recorded = parity.MODES[name], RECORD["modes"][name]
    assert recorded["ours"] == json.loads(json.dumps(mode.settings)), "record again"
    inputs = parity.Inputs.from_json(RECORD["inputs"])
    theirs = {key: torch.tensor(value, dtype=torch.float64) for key, value in recorded["theirs"].items()}
    found = parity.compare(mode, inputs, theirs)
    assert found["difference"] < parity.TOLERANCE
    assert recorded["difference"] < parity.TOLERANCE
    assert found["as_we_define_it"] < parity.TOLERANCE or mode.definition


def test_every_loss_and_advantage_is_compared(parity: ModuleType) -> None:
    assert parity.MODES.keys() == RECORD["modes"].keys()
    settings = [mode.settings for mode in parity.MODES.values()]
    assert {given["loss"] for given in settings if "loss" in given} == set(LOSSES)
    # The other libraries know no seats; `test_exact_gradients.py` has what credit by role climbs.
    assert {given["advantage"] for given in settings if "advantage" in given} == set(ADVANTAGES) - {"role"}


def test_the_inputs_tell_the_modes_apart() -> None:
    """Bounds are reached, and masks, lengths and references matter: no two modes that differ agree."""
    losses = {
        name: mode["theirs"]["loss"] for name, mode in RECORD["modes"].items() if "loss" in mode["theirs"]
    }
    alike = [{"trl bnpo", "trl dapo"}]
    for a in losses:
        for b in losses:
            if a.split()[0] == b.split()[0] and a < b and {a, b} not in alike:
                assert abs(losses[a] - losses[b]) > 1e-4, (a, b)
