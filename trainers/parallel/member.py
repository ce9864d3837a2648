"""One of the processes that share a batch: its model, its engine, and the loop of those that were started."""

import io
import os
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from torch import nn

from ludus.agents.engines.base import Engine
from ludus.agents.models import LoadedModel, format_for
from ludus.agents.policy import EnginePolicy
from ludus.agents.quantization import import_bitsandbytes
from ludus.agents.rollout import Environments
from ludus.tools.memory import give_back
from ludus.trainers.config.run import RunConfig
from ludus.trainers.models.activations import keep_activations
from ludus.trainers.parallel.memory import Layout
from ludus.trainers.run.league import FrozenPolicies
from ludus.trainers.run.policy import engine_policy, run_engine


@dataclass
class Member:
    """What a part of a batch is computed with."""

    policy: LoadedModel
    config: RunConfig

    def __post_init__(self) -> None:
        section = self.config.model
        keep_activations(
            self.policy.model,
            section.recompute_every,
            section.recompute == "selective",
            section.offload_activations,
        )

    @cached_property
    def engine(self) -> Engine:
        """Made when it is first needed: that may take long, and much memory."""
        return run_engine(self.policy, self.config)

    @cached_property
    def environments(self) -> Environments:
        """What it plays in, from one rollout to the next."""
        return Environments()

    @cached_property
    def frozen(self) -> FrozenPolicies:
        """Past checkpoints that play beside it."""
        return FrozenPolicies(self.policy, self.config)

    def close(self) -> None:
        """To be called by whoever is done with it."""
        self.environments.close()
        self.frozen.close()
        if "engine" in vars(self):
            self.engine.close()

    def player(self, temperature: float) -> EnginePolicy:
        """What samples from the model."""
        return engine_policy(self.engine, self.policy, self.config, temperature)


Function = Callable[[Member, Any], Any]
"""Of a module, so that it can be named to another process."""


@dataclass(frozen=True)
class Load:
    """A model for members to compute with from now on; its parameters are not pickled, but in `weights`."""

    pickled: bytes
    layout: Layout
    is_trained: tuple[bool, ...]
    """Which of the parameters are."""
    weights: Path
    gradients: Path
    """Where the member's gradients go."""
    gradient_layout: Layout
    """Of those that are trained."""


@dataclass(frozen=True)
class Unload:
    """The model is done with: its memory is given back."""


def pickled(policy: LoadedModel, parameters: list[nn.Parameter]) -> bytes:
    """Model and tokenizer, without the parameters."""
    places = {id(parameter): place for place, parameter in enumerate(parameters)}

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return places.get(id(obj)) if isinstance(obj, nn.Parameter) else None

    stream = io.BytesIO()
    Pickler(stream).dump((policy.model, policy.tokenizer))
    return stream.getvalue()


class _Unpickler(pickle.Unpickler):
    """Puts the parameters in their places. (Not a class of the function that uses it: a class is a cycle of
    references, and would keep the weights in memory after the model that they were for.)"""

    def __init__(self, pickled: bytes, parameters: list[nn.Parameter]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._parameters = parameters

    def persistent_load(self, place: int) -> nn.Parameter:
        return self._parameters[place]

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("bitsandbytes"):
            import_bitsandbytes()
        return super().find_class(module, name)


def _unpickled(load: Load, config: RunConfig) -> LoadedModel:
    weights = load.layout.map(load.weights)
    parameters = [nn.Parameter(*pair) for pair in zip(weights, load.is_trained, strict=True)]
    model, tokenizer = _Unpickler(load.pickled, parameters).load()
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter, gradient in zip(trained, load.gradient_layout.map(load.gradients), strict=True):
        parameter.grad_dtype = gradient.dtype
        parameter.grad = gradient
    form = format_for(model, tokenizer, config.engine.stop_tokens, config.run.day)
    return LoadedModel(model, tokenizer, form)


def serve(descriptor: int) -> None:
    """Compute what comes in over a connection, until its other end closes or the process is told to end.

    Args:
        descriptor: Of this end of the connection.
    """
    connection = Connection(descriptor)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        config, path = pickle.loads(connection.recv_bytes())
        sys.path[:] = path
        from ludus.trainers.run.job import computing

        with computing(config):
            _serve(connection, config)
    except (EOFError, BrokenPipeError, ConnectionResetError, SystemExit):
        os._exit(0)  # the run is over, or was killed


def _serve(connection: Connection, config: RunConfig) -> None:
    member: Member | None = None
    with ExitStack() as opened:
        while True:
            received = pickle.loads(connection.recv_bytes())
            try:
                if isinstance(received, Load | Unload):
                    opened.close()
                    member, answer = None, None
                if isinstance(received, Load):
                    member = Member(_unpickled(received, config), config)
                    opened.enter_context(closing(member))
                elif not isinstance(received, Unload):
                    function, part = received
                    assert member is not None, "a model is loaded first"
                    _zero_gradients(member)
                    answer = function(member, part)
                if isinstance(received, Load | Unload):
                    give_back()
            except Exception as error:
                connection.send_bytes(pickle.dumps((None, _sendable(error))))
            else:
                connection.send_bytes(pickle.dumps((answer, None)))


def _zero_gradients(member: Member) -> None:
    """In the memory that is shared."""
    for parameter in member.policy.model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
