import pytest
import torch

from ludus.agents.engines import fingerprint
from ludus.agents.engines.fingerprint import weights_fingerprint

SHAPES = [(1,), (7,), (300, 40), (64, 64), (5, 3, 11)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_in_slabs_are_the_same(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = [("weight", torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype))]
    whole = weights_fingerprint(weights)
    monkeypatch.setattr(fingerprint, "_SLAB", 64)
    assert weights_fingerprint(weights) == whole


def test_one_bit_and_two_that_change_places_are_noticed() -> None:
    weight = torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    known = weights_fingerprint([("weight", weight)])
    moved, changed = weight.clone(), weight.clone()
    moved[0, 0], moved[200, 30] = weight[200, 30], weight[0, 0]
    changed.view(torch.int32)[17, 5] ^= 1
    assert len({known, *(weights_fingerprint([("weight", other)]) for other in (moved, changed))}) == 3
    assert weights_fingerprint([("one", weight), ("other", moved)]) != weights_fingerprint(
        [("one", moved), ("other", weight)]
    )
