"""What computes a model in the embedded engine."""

from dataclasses import dataclass
from typing import Any

from ludus.agents.engines import own_cache, steps
from ludus.agents.engines.base import EngineError
from ludus.agents.engines.own_cache import OwnCacheBatch
from ludus.agents.engines.steps import Batch
from ludus.agents.families import OncePerModel, Reach
from ludus.agents.sight import lie_in_grids


@dataclass(frozen=True, slots=True)
class Core:
    batch: type[Batch]
    reach: Reach
    """How long the contexts may be."""


@OncePerModel
def core_of(model: Any) -> Core:
    """Packed rows over kept keys and values, where that is right; else the model's own forward and cache,
    which is not given the positions of pictures in grids.

    Raises:
        EngineError: either would compute another model; found by trying, at the first call on a model.
    """
    try:
        return Core(Batch, steps.reach(model))
    except EngineError:
        if lie_in_grids(model):
            raise
        return Core(OwnCacheBatch, own_cache.reach(model))
