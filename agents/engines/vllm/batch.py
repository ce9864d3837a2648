"""`VllmBatch`: what the schedule waits for, handed to vLLM's own scheduler."""

import itertools
import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.engines.base import EngineFault
from ludus.agents.engines.steps import Request
from ludus.agents.engines.vllm.process import ProcessState


@dataclass(eq=False)
class Row:
    """A request in vLLM."""

    id: str
    """vLLM's name for it."""
    session: int
    request: Request | None


class VllmBatch:
    """
    Args:
        vllm: Its `LLMEngine`.
        state: What it is entered by.
        allowed: The only ids that may be sampled; None: all.
    """

    def __init__(self, vllm: Any, state: ProcessState, allowed: Sequence[int] | None) -> None:
        self._vllm, self._state, self._allowed = vllm, state, allowed
        self._numbers = itertools.count()
        self.rows: list[Row] = []
        self.adapter: Any = None
        """vLLM's `LoRARequest` of the adapter that requests are computed with, if there is one."""

    @property
    def cached_tokens(self) -> int:
        scheduler = self._vllm.engine_core.engine_core.scheduler
        blocks = len(scheduler.kv_cache_manager.block_pool.cached_block_hash_to_block)
        size: int = self._vllm.vllm_config.cache_config.block_size
        return blocks * size

    def release(self, sessions: Container[int]) -> None:
        """Drop what belongs to any other session, and requests that nobody waits for any more."""
        stay = [
            row
            for row in self.rows
            if row.request is not None and row.session in sessions and not row.request.future.done()
        ]
        self._abort([row for row in self.rows if row not in stay])
        self.rows = stay

    def admit(self, requests: Sequence[Request]) -> None:
        """Hand over those that vLLM does not have yet; it puts them off while it is full."""
        there = {row.session for row in self.rows}
        for request in requests:
            if request.session not in there:
                row = Row(f"{request.session}-{next(self._numbers)}", request.session, request)
                with self._state.computing():
                    self._vllm.add_request(
                        row.id,
                        {"prompt_token_ids": request.ids},
                        _parameters(request, self._allowed),
                        lora_request=self.adapter,
                    )
                self.rows.append(row)

    def run(self, interrupt: threading.Event) -> None:
        """Compute until a request is finished or there is an interrupt."""
        with self._state.computing():
            while not self._step() and not interrupt.is_set():
                pass

    def _step(self) -> bool:
        """One forward pass; true when a completion is finished."""
        finished = {output.request_id: output for output in self._vllm.step() if output.finished}
        for row in self.rows:
            if row.request is not None and row.id in finished:
                _fill(row.request, finished[row.id])
        return bool(finished)

    def forget(self) -> None:
        """Forget what was computed, but keep the memory."""
        self.drop()
        with self._state.computing():
            self._vllm.reset_prefix_cache()

    def drop(self) -> None:
        """Take all requests back."""
        self._abort(self.rows)
        self.rows = []

    def _abort(self, rows: Sequence[Row]) -> None:
        if ids := [row.id for row in rows if row.request is not None]:
            with self._state.computing():
                self._vllm.abort_request(ids)


def _parameters(request: Request, allowed: Sequence[int] | None) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    sampling = request.sampling
    return SamplingParams(
        max_tokens=request.room,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=request.seed,
        stop_token_ids=list(sampling.stop_ids),
        allowed_token_ids=allowed,
        ignore_eos=True,
        logprobs=0,  # of the sampled token alone
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _fill(request: Request, output: Any) -> None:
    """
    Raises:
        EngineFault: vLLM gave up on the request.
    """
    (completion,) = output.outputs
    ids = list(completion.token_ids)
    request.new_ids = ids
    request.logprobs = [entry[id].logprob for id, entry in zip(ids, completion.logprobs, strict=True)]
    request.cached = output.num_cached_tokens or 0
    if not request.finish:
        raise EngineFault(
            f"vLLM ended a completion after {len(ids)} of {request.room} tokens: {completion.finish_reason}"
        )
