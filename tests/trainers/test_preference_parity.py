"""Our losses of preference pairs against the numbers that TRL's trainer gave.

`benchmarks/peers/preference_parity.py` recorded them; it says how.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers" / "preference_parity.py"
RECORD = json.loads((SCRIPT.parents[1] / "results" / "preference_parity.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def parity() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("preference_parity", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["preference_parity"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["preference_parity"]


@pytest.mark.parametrize("name", RECORD["modes"])
def test_ours_are_theirs(parity: ModuleType, name: str) -> None:
    mode, recorded = parity.MODES[name], RECORD["modes"][name]
    assert recorded["ours"] == mode.settings, "record again"
    inputs = parity.Inputs.from_json(RECORD["inputs"])
    theirs = {key: torch.tensor(value, dtype=torch.float64) for key, value in recorded["theirs"].items()}
    assert parity.difference(mode, inputs, theirs) < parity.TOLERANCE


def test_every_mode_is_recorded_and_no_two_agree(parity: ModuleType) -> None:
    assert parity.MODES.keys() == RECORD["modes"].keys()
    losses = sorted(mode["theirs"]["loss"] for mode in RECORD["modes"].values())
    assert all(b - a > 1e-4 for a, b in pairwise(losses))
