"""`VllmEngine`: rollouts by vLLM in this process, with the trainer's weights.

Where the weights are, by device: on a CPU they lie in vLLM's memory, and the trainer's parameters are views
of it, so there is one copy, and an update is there at once. Elsewhere, and where other processes map the
trainer's weights, vLLM's are a copy that is pushed. On a GPU that copy is given back with the keys and values
while the engine sleeps. An adapter is loaded anew for each version of the weights; its base never changes.
"""

from typing import Any

from ludus.agents.adapters.lora import adapter_terms
from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.engines.schedule import ScheduledEngine, context_of
from ludus.agents.engines.vllm.adapter import Adapter
from ludus.agents.engines.vllm.batch import VllmBatch
from ludus.agents.engines.vllm.build import Size, build, refuse_without_vllm, worker_of
from ludus.agents.engines.vllm.process import ProcessState
from ludus.agents.engines.vllm.trial import refuse_other_model
from ludus.agents.engines.vllm.weights import base_weights, push, share
from ludus.agents.families import Reach

_GIB = 2**30


class VllmEngine(ScheduledEngine):
    """Generates with vLLM, in this process. Use one at a time, and close it: they have a process group in
    common.

    Args:
        model: a causal language model of `transformers`; it is tried once whether vLLM computes it, too.
        slots: how many sequences are computed together; further sessions wait for a free one.
        max_context: prompt and completion together, in tokens; at most, and by default, what the model's
            configuration allows.
        patience_s: how long a session that is away holds up the others; see `EmbeddedEngine`.
        cache_gib: memory for keys and values, taken at once. Of turns of an episode, and of episodes with the
            same start, they are computed once as long as there is room.
        words: how many ids the tokenizer has; those of the model from there on are never sampled. None: all
            of the model's may be.

    Raises:
        EngineError: vLLM is not installed or too old, cannot run the model, or computes another.
    """

    def __init__(
        self,
        model: Any,
        slots: int = 64,
        max_context: int | None = None,
        patience_s: float = 2.0,
        cache_gib: float = 1.0,
        words: int | None = None,
    ) -> None:
        refuse_without_vllm()
        self._model = model
        self._weights = base_weights(model)
        terms = adapter_terms(model)
        most: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        limit = Reach(most, f"{type(model).__name__} was built for {most} positions")
        context = context_of(model, limit, max_context)
        rank = max((len(term.matrices()[0]) for term in terms.values()), default=0)
        self._state = ProcessState()
        with self._state.building():
            self._vllm, self._places = build(
                model, self._weights, Size(slots, context, int(cache_gib * _GIB), rank)
            )
        is_padded = words is not None and words < model.get_input_embeddings().num_embeddings
        batch = VllmBatch(self._vllm, self._state, [*range(words or 0)] if is_padded else None)
        super().__init__(batch, context, patience_s)
        self._requests = batch
        self._adapter = Adapter(worker_of(self._vllm), terms) if terms else None
        self._on_gpu = model.device.type != "cpu"
        are_mapped = any(weight.is_shared() for weight in self._weights.values())
        self._shares = not self._on_gpu and not are_mapped
        if self._shares:
            share(self._weights, self._places)
        self._is_stale = self._adapter is not None
        self._sync()
        with self._state.computing():
            refuse_other_model(self._vllm, model, batch.adapter)
        batch.forget()

    def weights_fingerprint(self) -> int:
        places = {**self._places, **(self._adapter.weights() if self._adapter else {})}
        return weights_fingerprint((name, places[name]) for name, _ in self._model.named_parameters())

    def weights_changed(self) -> None:
        super().weights_changed()
        self._is_stale = True
        if not self.is_asleep:
            self._sync()

    def sleep(self) -> None:
        """On a GPU, free the memory of keys and values, and that of vLLM's copy of the weights. On a CPU,
        vLLM keeps what it has."""
        was_awake = not self.is_asleep
        super().sleep()
        if self._on_gpu and was_awake:
            with self._state.computing():
                self._vllm.sleep(level=2)
            self._is_stale = True

    def wake(self) -> None:
        if self._on_gpu and self.is_asleep:
            with self._state.computing():
                self._vllm.wake_up()
        super().wake()
        self._sync()

    def close(self) -> None:
        """End vLLM. The model stays as it is: what memory it shared is its own from now on."""
        if self._closed:
            return
        super().close()
        self._thread.shutdown()  # it is in the middle of a pass
        self._requests.drop()
        with self._state.building():
            self._vllm.engine_core.shutdown()  # ends its process group, too

    def _sync(self) -> None:
        """Let vLLM have the weights as they are, unless it has."""
        if not self._is_stale:
            return
        if not self._shares:
            push(self._weights, self._places)
        if self._adapter is not None:
            with self._state.computing():
                self._requests.adapter = self._adapter.replace()
        self._is_stale = False
