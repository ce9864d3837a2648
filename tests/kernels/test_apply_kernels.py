"""apply_kernels on tiny models of each family, against the same models without."""

import copy
import io

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ludus.kernels import apply_kernels, kernels_problem

from .conftest import INTERPRETED

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODULES = {"llama": 11, "llama with biases": 11, "qwen2": 11, "qwen2 sliding": 11, "qwen3": 15}
"""The number of replaced modules: per layer itself, attention, MLP and two norms (four in Qwen3); the final
norm."""


def build(family, dtype=torch.float32):
    torch.manual_seed(0)
    match family:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**SHAPE))
        case "llama with biases":
            model = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True))
        case "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
        case "qwen2 sliding":
            sliding = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
            model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, **sliding))
        case "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16))
    for parameter in model.parameters():  # norms start as ones, biases as zeros: neither would have an effect
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.to(dtype).eval()


def batch(rows=2, tokens=7):
    return torch.randint(3, 61, (rows, tokens), generator=torch.Generator().manual_seed(1))


def outputs_and_gradients(model, **arguments):
    model.zero_grad(set_to_none=True)
    output = model(use_cache=False, **arguments)
    weights = torch.randn(output.logits.shape, generator=torch.Generator().manual_seed(2))
    (output.logits.float() * weights.to(output.logits.device)).sum().backward()
    return [output.logits.detach(), *(parameter.grad for parameter in model.parameters())]


def assert_alike(got, expected, tolerance):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * (1e-3 + float(b.abs().max())))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"] if INTERPRETED else MODULES)
def test_outputs_and_gradients(device, family):
    model, ids = build(family).to(device), batch().to(device)
    plain = outputs_and_gradients(model, input_ids=ids)
    with apply_kernels(model) as applied:
        assert len(applied.modules) == MODULES[family]
        assert_alike(outputs_and_gradients(model, input_ids=ids), plain, 1e-5)
    again = outputs_and_gradients(model, input_ids=ids)
    assert all(torch.equal(a, b) for a, b in zip(again, plain, strict=True))


@pytest.mark.skipif(INTERPRETED, reason="bfloat16 arithmetic is silently wrong in the interpreter")
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_bfloat16_is_no_further_from_the_truth(device, family):
    """The measure is not how two ways of rounding differ, but how far each is from float32."""
    ids = batch().to(device)
    rounded = build(family, torch.bfloat16).to(device)
    exact = outputs_and_gradients(copy.deepcopy(rounded).float(), input_ids=ids)
    plain = outputs_and_gradients(rounded, input_ids=ids)
    apply_kernels(rounded)
    fused = outputs_and_gradients(rounded, input_ids=ids)

    def distance(tensors):
        relative = [(a.float() - b).norm() / (1e-3 + b.norm()) for a, b in zip(tensors, exact, strict=True)]
        return torch.stack(relative).norm()

    assert distance(fused) <= 1.2 * distance(plain)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_masks_attentions_and_hidden_states(device, family, attention):
    model, ids = build(family).to(device), batch().to(device)
    model.set_attn_implementation(attention)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    wanted = {"output_hidden_states": True, "output_attentions": attention == "eager"}
    plain = model(input_ids=ids, attention_mask=mask, **wanted)
    with apply_kernels(model):
        fused = model(input_ids=ids, attention_mask=mask, **wanted)
    kept = mask.bool()
    for a, b in zip(fused.hidden_states, plain.hidden_states, strict=True):
        torch.testing.assert_close(a[kept], b[kept], rtol=1e-4, atol=1e-4)
    if attention == "eager":
        for a, b in zip(fused.attentions, plain.attentions, strict=True):
            torch.testing.assert_close(a[1], b[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_packed_positions(device, family):
    """Two rows end to end, with positions that restart, give the same as each alone."""
    model, ids = build(family).to(device), batch(1, 9).to(device)
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]], device=device)
    plain = outputs_and_gradients(model, input_ids=ids, position_ids=positions)
    with apply_kernels(model):
        fused = outputs_and_gradients(model, input_ids=ids, position_ids=positions)
        alone = model(input_ids=ids[:, 4:], use_cache=False).logits
    assert_alike(fused, plain, 1e-5)
    torch.testing.assert_close(fused[0][0, 4:], alone[0].detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen3"] if INTERPRETED else MODULES)
def test_generate_and_its_cache(device, family):
    model, ids = build(family).to(device), batch().to(device)
    settings = {"max_new_tokens": 2 if INTERPRETED else 10, "do_sample": False, "pad_token_id": 0}
    plain = model.generate(ids, **settings)
    with apply_kernels(model):
        assert torch.equal(model.generate(ids, **settings), plain)
        with torch.inference_mode():
            whole = model(input_ids=ids, use_cache=False).logits
            start = model(input_ids=ids[:, :4], use_cache=True)
            rest = model(input_ids=ids[:, 4:], past_key_values=start.past_key_values).logits
    torch.testing.assert_close(torch.cat([start.logits, rest], 1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(device, reentrant):
    model, ids = build("qwen3").to(device).train(), batch().to(device)
    apply_kernels(model)
    plain = outputs_and_gradients(model, input_ids=ids)
    runs = []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: runs.append(1))
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    checkpointed = outputs_and_gradients(model, input_ids=ids)
    assert len(runs) == 2, "nothing was computed again"
    assert all(torch.equal(a, b) for a, b in zip(checkpointed, plain, strict=True))


def test_remove_restores_every_module():
    model = build("qwen3")
    before = {name: (type(module), dict(vars(module))) for name, module in model.named_modules()}
    applied = apply_kernels(model)
    assert all(isinstance(module, before[name][0]) for name, module in model.named_modules())
    assert type(model.model.layers[0]).__name__ == "Qwen3DecoderLayer"
    applied.remove()
    applied.remove()
    assert applied.modules == ()
    for name, module in model.named_modules():
        assert (type(module), vars(module)) == before[name]


def test_other_models_do_not_notice():
    model, other = build("llama"), build("llama")
    apply_kernels(model)
    assert not any(type(module) in map(type, model.model.layers) for module in other.modules())


def test_twice():
    """The second call finds nothing left to do, and its handle undoes nothing."""
    model = build("llama")
    first = apply_kernels(model)
    with apply_kernels(model) as second:
        assert second.modules == ()
    assert apply_kernels(model.model.layers[0]).modules == ()
    assert type(model.model.norm) is not type(build("llama").model.norm)
    first.remove()
    assert type(model.model.norm) is type(build("llama").model.norm)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save_pretrained"])
def test_copies_are_plain(how, tmp_path):
    model, plain = build("qwen3"), build("qwen3")
    apply_kernels(model)
    match how:
        case "deepcopy":
            other = copy.deepcopy(model)
        case "pickle":
            file = io.BytesIO()
            torch.save(model, file)
            file.seek(0)
            other = torch.load(file, weights_only=False)
        case "save_pretrained":
            model.save_pretrained(tmp_path)
            other = Qwen3ForCausalLM.from_pretrained(tmp_path)
    assert [type(module) for module in other.modules()] == [type(module) for module in plain.modules()]
    expected, got = plain.state_dict(), other.state_dict()
    assert list(got) == list(expected)
    assert all(torch.equal(got[name], tensor) for name, tensor in expected.items())
    ids = batch()
    assert torch.equal(other(input_ids=ids).logits, plain(input_ids=ids).logits)
    with apply_kernels(other) as applied:
        assert len(applied.modules) == 15


def test_a_norm_that_was_wrapped_later(device):
    """PEFT's `modules_to_save` puts a copy of a norm, which is plain, behind a module of its own."""

    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = copy.deepcopy(inner)

        def forward(self, x):
            return self.inner(x)

    model, ids = build("llama").to(device), batch().to(device)
    plain = outputs_and_gradients(model, input_ids=ids)
    apply_kernels(model)
    for layer in model.model.layers:
        layer.post_attention_layernorm = Wrapper(layer.post_attention_layernorm)
    assert_alike(outputs_and_gradients(model, input_ids=ids), plain, 1e-5)


def test_hooks_and_frozen_weights_stay(device):
    model, ids = build("llama").to(device), batch().to(device)
    seen = []
    model.model.layers[0].mlp.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("q_proj" in name)
    apply_kernels(model)
    model(input_ids=ids, use_cache=False).logits.sum().backward()
    assert seen == [(2, 7, 48)]
    assert [name for name, p in model.named_parameters() if p.grad is not None] == [
        f"model.layers.{i}.self_attn.q_proj.weight" for i in range(2)
    ]


def test_models_that_are_refused():
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    with pytest.raises(
        ValueError, match="GPT2LMHeadModel has no module that the kernels know: looked for Llama"
    ):
        apply_kernels(gpt2)
    gelu = LlamaForCausalLM(LlamaConfig(**SHAPE, hidden_act="gelu"))
    with pytest.raises(ValueError, match=r"the activation of model\.layers\.0\.mlp is GELU"):
        apply_kernels(gelu)
    hooked = build("llama")
    hooked.model.norm.forward = hooked.model.norm.forward
    with pytest.raises(ValueError, match=r"the forward of model\.norm was replaced"):
        apply_kernels(hooked)
    assert type(gelu.model.norm) is type(hooked.model.norm) is type(build("llama").model.norm)
    assert kernels_problem(build("qwen2")) == ""


def test_remove_refuses_where_a_class_changed_since():
    model = build("llama")
    applied = apply_kernels(model)
    layer = model.model.layers[1]
    ours = type(layer)
    layer.__class__ = type("FSDPLlamaDecoderLayer", (ours,), {})
    with pytest.raises(RuntimeError, match="LlamaDecoderLayer became a FSDPLlamaDecoderLayer"):
        applied.remove()
    layer.__class__ = ours
    applied.remove()
    assert type(layer) is type(build("llama").model.layers[1])
