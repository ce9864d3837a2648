"""`apply_kernels`: a transformers model of the Llama family that computes with the fused operators.

A module gets a new class: a subclass of its old one, with another `forward`. So parameters, buffers, hooks,
names and `isinstance` stay as they were, no class or global of transformers changes, and other models in the
process are not affected. Gradient checkpointing, which transformers builds into the classes of decoder
layers, is inherited.
"""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from ludus.kernels.add_rmsnorm.op import add_rmsnorm
from ludus.kernels.rope.op import rope
from ludus.kernels.swiglu.op import swiglu

FAMILIES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
"""Modules of `transformers.models`, and the prefix of their class names."""


class AppliedKernels:
    """What `apply_kernels` did to a model; as a context manager, it is undone at the end."""

    def __init__(self, plain: list[tuple[nn.Module, type[nn.Module]]]) -> None:
        self._plain = plain

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules that compute with fused operators because of this call."""
        return tuple(module for module, _ in self._plain)

    def remove(self) -> None:
        """Every module gets its old class back. Calling it again does nothing.

        Raises RuntimeError, and changes nothing, if a module has been given yet another class since.
        """
        for module, kind in self._plain:
            if type(module) is not _fused(kind):
                raise RuntimeError(
                    f"a {kind.__name__} became a {type(module).__name__} after apply_kernels (FSDP's "
                    "fully_shard does that); undo what was done last first"
                )
        for module, kind in self._plain:
            module.__class__ = kind
        self._plain = []

    def __enter__(self) -> "AppliedKernels":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


def apply_kernels(model: nn.Module) -> AppliedKernels:
    """Let a transformers Llama, Qwen2 or Qwen3 (also inside a wrapper such as a PEFT model) compute its
    norms, its feed-forward gates and its rotations with `add_rmsnorm`, `swiglu` and `rope`, with the same
    outputs and gradients to rounding. Attention and matrix products stay what they are.

    The addition of the attention's output to the residual stream is part of the norm that follows it.
    All ways to call the model work as before: KV caches, `generate`, gradient checkpointing, any
    attention implementation, packed positions. What a hook on a query or key norm sees is rotated in place
    afterwards.

    Saved models are plain, and so are copies and pickles of a model: apply the kernels to those anew. Modules
    that have them already are left alone, so the handle of a second call undoes nothing of the first.

    Raises ValueError if the model is of another family or cannot be changed (see `kernels_problem`), and
    changes nothing then.
    """
    if problem := kernels_problem(model):
        raise ValueError(problem)
    plain = [(module, type(module)) for module in model.modules() if _counterpart(type(module))]
    for module, kind in plain:
        module.__class__ = _fused(kind)
    return AppliedKernels(plain)


def kernels_problem(model: nn.Module) -> str:
    """Why `apply_kernels` would refuse the model, in one sentence; empty if it would not."""
    found = False
    for name, module in model.named_modules():
        counterpart = _counterpart(type(module))
        found |= counterpart is not None or isinstance(module, _Fused)
        if counterpart and "forward" in vars(module):
            return (
                f"{type(model).__name__}: the forward of {name} was replaced (accelerate does that for "
                "a device map); apply the kernels before, and load the model without a device map"
            )
        if counterpart is _Mlp and not isinstance(module.act_fn, _silus()):
            return (
                f"{type(model).__name__}: the activation of {name} is {type(module.act_fn).__name__}, and "
                'swiglu has SiLU; choose a model with hidden_act = "silu"'
            )
    if found:
        return ""
    wanted = ", ".join(f"{prefix}DecoderLayer" for prefix in FAMILIES.values())
    return (
        f"{type(model).__name__} has no module that the kernels know: looked for {wanted} of transformers, "
        "their attention, MLP and RMSNorm; choose a model of these families, or go without"
    )


class _Fused(nn.Module):
    """A module's new class."""

    plain: type[nn.Module]
    """The old class, which copies and pickles have."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced: Any = super().__reduce_ex__(protocol)
        return object.__new__, (self.plain,), *reduced[2:]


class _RMSNorm(_Fused):
    weight: Tensor
    variance_epsilon: float

    def forward(self, hidden_states: Tensor, residual: Tensor | None = None) -> Any:
        if residual is None:
            return add_rmsnorm(hidden_states, self.weight, self.variance_epsilon)
        return add_rmsnorm(hidden_states, self.weight, self.variance_epsilon, residual)


class _Mlp(_Fused):
    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
        return out


class _Attention(_Fused):
    config: Any
    eager_attention: Callable[..., Any]
    q_proj: nn.Module
    k_proj: nn.Module
    v_proj: nn.Module
    o_proj: nn.Module
    q_norm: nn.Module
    k_norm: nn.Module

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        tokens = hidden_states.shape[:-1]
        query, key, value = (
            project(hidden_states).view(*tokens, -1, self.head_dim)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if hasattr(self, "q_norm"):
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = rope(query, key, *position_embeddings)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        if hasattr(self, "sliding_window"):
            kwargs["sliding_window"] = self.sliding_window
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, self.eager_attention)
        output, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return self.o_proj(output.reshape(*tokens, -1).contiguous()), weights


class _DecoderLayer(_Fused):
    self_attn: nn.Module
    mlp: nn.Module
    input_layernorm: nn.Module
    post_attention_layernorm: nn.Module

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        norm = self.post_attention_layernorm
        if isinstance(norm, _RMSNorm):
            normal, stream = norm(attended, hidden_states)
        else:  # the norm has been wrapped since, say to train a copy of it
            stream = hidden_states + attended
            normal = norm(stream)
        out: Tensor = stream + self.mlp(normal)
        return out


_COUNTERPARTS: dict[str, type[_Fused]] = {
    "RMSNorm": _RMSNorm,
    "MLP": _Mlp,
    "Attention": _Attention,
    "DecoderLayer": _DecoderLayer,
}
"""Keyed by the suffix of transformers' class names."""


def _counterpart(kind: type[nn.Module]) -> type[_Fused] | None:
    """The new class for a module of this class; None if it stays as it is."""
    if issubclass(kind, _Fused):
        return None
    for base in kind.__mro__:
        for folder, prefix in FAMILIES.items():
            if base.__module__ == f"transformers.models.{folder}.modeling_{folder}":
                return _COUNTERPARTS.get(base.__name__.removeprefix(prefix))
    return None


_made: dict[type[nn.Module], type[nn.Module]] = {}


def _fused(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass of `kind` with the forward of its counterpart, made once, under the same name, since device
    maps and FSDP policies match by name."""
    if kind not in _made:
        counterpart = _counterpart(kind)
        assert counterpart is not None
        members: dict[str, Any] = {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "plain": kind,
        }
        if counterpart is _Attention:
            members["eager_attention"] = staticmethod(_eager_attention(kind))
        _made[kind] = type(kind.__name__, (counterpart, kind), members)
    return _made[kind]


def _eager_attention(kind: type[nn.Module]) -> Callable[..., Any]:
    """The attention that a model falls back to; each of transformers' modules has its own."""
    for base in kind.__mro__:
        if found := getattr(sys.modules[base.__module__], "eager_attention_forward", None):
            attention: Callable[..., Any] = found
            return attention
    raise AttributeError(f"{kind.__module__} has no eager_attention_forward, which {kind.__name__} calls")


def _silus() -> tuple[type[nn.Module], ...]:
    from transformers.activations import ACT2FN

    return nn.SiLU, type(ACT2FN["silu"])
