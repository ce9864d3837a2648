"""`EmbeddedEngine`: continuous batching over a `transformers` model that is trained elsewhere."""

from typing import Any

import torch

from ludus.agents.engines.base import EngineError
from ludus.agents.engines.cores import core_of
from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.engines.schedule import ScheduledEngine, context_of


class EmbeddedEngine(ScheduledEngine):
    """Generates with `model` itself, so there is no copy of the weights to keep in step.

    Args:
        model: a causal language model of `transformers`; it is tried once how it is computed right (`cores`).
        slots: how many sequences are computed together; further sessions wait for a free one.
        max_context: prompt and completion together, in tokens; at most, and by default, what the model's
            configuration allows and the engine computes right.
        patience_s: how long a session that is away holds up the others, once per turn. If answers always come
            sooner, results are repeatable to the bit. 0 never waits: for slow environments, where throughput
            matters more.
        words: how many ids the tokenizer has; those of the model from there on, which pad its matrices, are
            never sampled. None: all of the model's may be.

    Raises:
        EngineError: the engine would compute another model, `max_context` exceeds what it was built for, or
            there is no slot.
    """

    sees = True
    tells_likeliest = True

    def __init__(
        self,
        model: Any,
        slots: int = 64,
        max_context: int | None = None,
        patience_s: float = 2.0,
        words: int | None = None,
    ) -> None:
        if slots < 1:
            raise EngineError(f"slots={slots}: an engine needs at least one")
        core = core_of(model)
        context = context_of(model, core.reach, max_context)
        super().__init__(core.batch(model, slots, words), context, patience_s)
        self._model = model

    def weights_fingerprint(self) -> int:
        return weights_fingerprint(self._model.named_parameters())

    def sleep(self) -> None:
        super().sleep()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
