"""The forward pass of the most common shape of models, with few operators and little memory traffic: decoders
like Llama's, on a CPU, in float32.

A layer is its matrix products, by the model's own linear modules (so that adapters, quantised weights and
every change of the weights are seen), and four kernels between them (`compiled`). Any other model is
computed by its own forward (`steps`).
"""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from ludus.agents.engines import compiled
from ludus.agents.engines.compiled import FEW, LANES, OUTPUTS, QUERIES, ROWS, TOKENS, bits, run_length
from ludus.agents.engines.slots import Step
from ludus.tools.compiling import compile_once

MODELS = {"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
"""Classes of transformers that compute nothing else."""


_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs"
)  # fmt: skip


def can_fuse(model: Any) -> bool:
    """Whether a model is of this shape, and nobody watches or changes the parts whose forward is left out."""
    if type(model).__name__ not in MODELS or not type(model).__module__.startswith("transformers."):
        return False
    config, decoder = model.config, model.model
    left_out = [model, decoder]
    for layer in decoder.layers:
        attention = layer.self_attn
        left_out += [layer, attention, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm]
        left_out += [norm for name in ("q_norm", "k_norm") if (norm := getattr(attention, name, None))]
    left_out.append(decoder.norm)
    read = [decoder.embed_tokens, *(module for module in left_out if hasattr(module, "variance_epsilon"))]
    return (
        config.hidden_act == "silu"
        and decoder.layers[0].self_attn.head_dim % 2 == 0
        and config.num_attention_heads <= QUERIES * config.num_key_value_heads
        and all(_is_in_memory(module.weight) for module in read)
        and not any(getattr(module, hooks) for module in left_out for hooks in _HOOKS)
    )


def _is_in_memory(weight: Tensor) -> bool:
    """Whether a kernel can read it: float32 on the CPU, and not one of torch's tensors without numbers."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and not is_fake(weight)


class FusedForward:
    """A model's forward over one packed pass. It reads the weights as they are at that moment."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._layers = list(model.model.layers)
        config = model.config
        first = self._layers[0].self_attn
        self._head_dim: int = first.head_dim
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._normed = hasattr(first, "q_norm")

        def use() -> None:
            self._positions = compiled.positions(self._head_dim, self._normed)
            shape = self._head_dim, self._heads // self._kv_heads
            self._attention = compiled.attention(*shape)
            self._attention_of_runs = compiled.attention_of_runs(*shape)
            self._add_norm, self._gate = compiled.add_norm(), compiled.gate()
            self._products = compiled.products()

        compile_once("a decoder", use)

    def __call__(self, step: Step) -> Tensor:
        """The logits after each row's last new token, [N, V]."""
        decoder = self._model.model
        embedded = decoder.embed_tokens(step.ids_1T)
        cos_1TD, sin_1TD = decoder.rotary_emb(embedded, step.positions_1T)
        cos_TD, sin_TD = cos_1TD[0].contiguous(), sin_1TD[0].contiguous()
        hidden_TE, added_TE = embedded[0], None
        runs_R3 = step.runs(run_length(self._heads // self._kv_heads))
        for index, layer in enumerate(self._layers):
            normed_TE = self._normalise(layer.input_layernorm, hidden_TE, added_TE)
            mixed_TE = self._attend(index, layer.self_attn, normed_TE, cos_TD, sin_TD, step, runs_R3)
            if layer is self._layers[-1]:  # of which nothing but each row's last token is needed
                mixed_TE, hidden_TE = mixed_TE[step.last_N], hidden_TE[step.last_N]
            normed_TE = self._normalise(
                layer.post_attention_layernorm, hidden_TE, self._linear(layer.self_attn.o_proj, mixed_TE)
            )
            added_TE = self._feed_forward(layer.mlp, normed_TE)
        return self._linear(self._model.lm_head, self._normalise(decoder.norm, hidden_TE, added_TE))

    def _linear(self, layer: nn.Module, x_TI: Tensor) -> Tensor:
        """A linear layer's output, hooks included, by which adapters add to it."""
        if len(x_TI) > FEW or not _is_plain(layer):
            out_TO: Tensor = layer(x_TI)
            return out_TO
        outputs, inputs = layer.weight.shape
        out_TO = x_TI.new_empty(len(x_TI), outputs)
        self._products(
            -(-outputs // OUTPUTS),
            len(x_TI),
            inputs,
            outputs,
            x_TI.data_ptr(),
            layer.weight.data_ptr(),
            out_TO.data_ptr(),
        )
        for hook in layer._forward_hooks.values():
            changed = hook(layer, (x_TI,), out_TO)
            out_TO = out_TO if changed is None else changed
        return out_TO

    def _normalise(self, norm: Any, hidden_TE: Tensor, added_TE: Tensor | None) -> Tensor:
        """Adds to `hidden_TE`, in place, and gives its norm."""
        out_TE = torch.empty_like(hidden_TE)
        tokens, width = hidden_TE.shape
        self._add_norm(
            -(-tokens // TOKENS),
            tokens,
            width,
            bits(norm.variance_epsilon),
            hidden_TE.data_ptr(),
            0 if added_TE is None else added_TE.data_ptr(),
            out_TE.data_ptr(),
            norm.weight.data_ptr(),
        )
        return out_TE

    def _attend(
        self,
        index: int,
        attention: Any,
        x_TE: Tensor,
        cos_TD: Tensor,
        sin_TD: Tensor,
        step: Step,
        runs_R3: Tensor,
    ) -> Tensor:
        """What the output projection gets, [T, heads · head_dim]."""
        query_TE, key_TE, value_TE = (
            self._linear(layer, x_TE) for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        shape = (-1, self._kv_heads, self._head_dim)
        keys, values = step.store.layer(index, key_TE.view(shape), value_TE.view(shape))
        tokens = len(x_TE)
        self._positions(
            -(-tokens // TOKENS),
            tokens,
            self._heads,
            self._kv_heads,
            bits(attention.q_norm.variance_epsilon if self._normed else 0.0),
            query_TE.data_ptr(),
            key_TE.data_ptr(),
            value_TE.data_ptr(),
            cos_TD.data_ptr(),
            sin_TD.data_ptr(),
            attention.q_norm.weight.data_ptr() if self._normed else 0,
            attention.k_norm.weight.data_ptr() if self._normed else 0,
            step.places_T.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
        )
        out_TE = torch.empty_like(query_TE)
        window: int | None = getattr(attention, "sliding_window", None)
        step.windows.add(window)
        settings = self._kv_heads, step.store.length, window or 0, bits(attention.scaling)
        store = keys.data_ptr(), values.data_ptr()
        if step.singles:
            self._attention(
                step.singles * self._kv_heads,
                *settings,
                query_TE.data_ptr(),
                out_TE.data_ptr(),
                step.rows_T.data_ptr(),
                step.positions_1T.data_ptr(),
                *store,
            )
        if len(runs_R3):
            self._attention_of_runs(
                len(runs_R3) * self._kv_heads,
                *settings,
                query_TE.data_ptr(),
                out_TE.data_ptr(),
                runs_R3.data_ptr(),
                step.positions_1T.data_ptr(),
                *store,
            )
        return out_TE

    def _feed_forward(self, mlp: Any, x_TE: Tensor) -> Tensor:
        gate_TF, up_TF = self._linear(mlp.gate_proj, x_TE), self._linear(mlp.up_proj, x_TE)
        tokens, width = gate_TF.shape
        self._gate(-(-tokens // TOKENS), tokens, width, gate_TF.data_ptr(), up_TF.data_ptr())
        return self._linear(mlp.down_proj, gate_TF)


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer's product with few tokens can be computed here."""
    if type(layer) is not nn.Linear:
        return False
    weight = layer.weight
    return (
        layer.bias is None
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and weight.shape[0] % ROWS == 0
        and weight.shape[1] % LANES == 0
        and not (layer._forward_pre_hooks or layer._forward_hooks_with_kwargs)
    )
