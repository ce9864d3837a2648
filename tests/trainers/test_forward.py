"""Packed rows score as each row does alone, over model families; and the pitfalls."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    NanoChatConfig,
    NanoChatForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ludus.agents.episode import TrainingSequence
from ludus.agents.kept import KeptSets
from ludus.kernels import grpo_loss, token_weights
from ludus.trainers.batches.packing import flat_logprobs, pack, sampled_counts
from ludus.trainers.losses.policy import PolicyMetrics
from ludus.trainers.losses.registry import LOSSES
from ludus.trainers.models import attention
from ludus.trainers.models.attention import ATTENTION, UnsupportedModel
from ludus.trainers.models.forward import reach, score

WORDS = 61
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SHAPE = ENDS | {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FAMILIES = {
    "qwen3-tied": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=True)),
    "qwen3-untied": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=False)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen2-sliding-window": lambda: Qwen2ForCausalLM(
        Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
    "gpt2-absolute-positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=2, n_head=4, n_positions=32, **ENDS)
    ),
    "phi-head-with-bias": lambda: PhiForCausalLM(PhiConfig(**SHAPE)),
    "cohere-logit-scale": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=1.7)),
    "granite-logits-scaling": lambda: GraniteForCausalLM(
        GraniteConfig(**SHAPE, logits_scaling=0.8, embedding_multiplier=3.0, residual_multiplier=0.7)
    ),
    "gemma2-soft-caps": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **SHAPE,
            head_dim=8,
            sliding_window=5,
            attn_logit_softcapping=1.5,
            final_logit_softcapping=6.0,
        )
    ),
    "nanochat-soft-cap": lambda: NanoChatForCausalLM(
        NanoChatConfig(**SHAPE | {"num_key_value_heads": 4}, final_logit_softcapping=6.0)
    ),
    "gpt-oss-sinks": lambda: GptOssForCausalLM(
        GptOssConfig(
            **SHAPE,
            head_dim=8,
            num_local_experts=3,
            num_experts_per_tok=2,
            sliding_window=5,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
            experts_implementation="eager",
        )
    ),
}


def build(name):
    """A tiny random model in float64 with distributions far from uniform, in training mode (with dropout)."""
    torch.manual_seed(0)
    model = FAMILIES[name]().double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3) if parameter.dim() > 1 else parameter.add_(
                0.1 * torch.randn_like(parameter)
            )
    return model


@pytest.fixture
def in_double(monkeypatch):
    """The families' own norms and softmax compute in float32, whatever the model is in, which costs
    gradients 1e-6: casts of float64 to float32 do nothing."""
    to, softmax = torch.Tensor.to, torch.nn.functional.softmax

    def kept(tensor, dtype):
        return torch.float64 if tensor.dtype == torch.float64 and dtype == torch.float32 else dtype

    def to_kept(tensor, *arguments, **named):
        named = {name: kept(tensor, value) for name, value in named.items()}
        return to(tensor, *(kept(tensor, value) for value in arguments), **named)

    def softmax_kept(input, dim=None, dtype=None, **named):
        return softmax(input, dim, dtype=kept(input, dtype), **named)

    monkeypatch.setattr(torch.Tensor, "to", to_kept)
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: to_kept(tensor, torch.float32))
    monkeypatch.setattr(torch.nn.functional, "softmax", softmax_kept)


def make_rows(lengths=(9, 14, 4, 23, 9, 2, 12, 17), seed=0):
    """Prompts of one to three tokens; sampled turns with the environment's tokens between them."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i, length in enumerate(lengths):
        ids = tuple(torch.randint(0, WORDS, (length,), generator=generator).tolist())
        sampled = tuple(t > i % 3 and (t + i) % 6 != 0 for t in range(length))
        sampled = (*sampled[:-1], True)
        logprobs = -3 * torch.rand(length, generator=generator)
        rows.append(TrainingSequence(ids, sampled, tuple((logprobs * torch.tensor(sampled)).tolist())))
    return rows


def make_forest(seed=0, rows=14):
    """Rows that leave each other at all depths; some are the beginning of others, some are there twice."""
    rng = random.Random(seed)
    made: list[tuple[int, ...]] = []
    for _ in range(rows):
        start = rng.choice(made) if made and rng.random() < 0.8 else ()
        start = start[: rng.randint(0, len(start))]
        made.append((*start, *(rng.randrange(WORDS) for _ in range(rng.randint(not start, 12))))[:31])
    made += made[:2]
    sampled = [tuple(t > i % 3 and rng.random() < 0.7 for t in range(len(ids))) for i, ids in enumerate(made)]
    return [
        TrainingSequence(ids, marks, tuple(-rng.random() * m for m in marks))
        for ids, marks in zip(made, sampled, strict=True)
        if any(marks)
    ]


def plain(model, rows, temperature):
    """log_softmax of each row's logits, alone and over the kept ids: log-probabilities and entropies in flat
    order."""
    model.eval()
    logprobs, entropies = [], []
    for row in rows:
        logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0] / temperature
        places = [t for t, sampled in enumerate(row.sampled) if sampled]
        for t, kept in zip(places, row.kept or [torch.arange(WORDS)] * len(places), strict=True):
            log_p = torch.log_softmax(logits[t - 1, kept.tolist()], -1)
            logprobs.append(log_p[kept.tolist().index(row.ids[t])])
            entropies.append(-(log_p.exp() * log_p).sum())
    model.train()
    return torch.stack(logprobs), torch.stack(entropies)


def packed(model, rows, temperature, budget):
    """The same through micro-batches."""
    total = int(sampled_counts(rows).sum())
    logprobs, entropies = torch.full((2, total), torch.nan, dtype=torch.float64)
    for part in pack(rows, budget):
        scored = score(model, part, temperature)
        logprobs[part.token_N] = scored.logprobs.detach()
        entropies[part.token_N] = scored.entropy
    return logprobs, entropies


@pytest.mark.parametrize("budget", [1, 30, 1000])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_scores_are_those_of_each_row_alone(family, budget, in_double):
    model, rows = build(family), make_rows()
    expected, expected_entropy = plain(model, rows, 0.7)
    logprobs, entropy = packed(model, rows, 0.7, budget)
    assert expected.std() > 1.0
    torch.testing.assert_close(logprobs, expected.detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(entropy, expected_entropy.detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("seed", "block"),
    [
        (0, 5),
        (1, 128),
        *(
            pytest.param(seed, block, marks=pytest.mark.slow)
            for seed, block in [(0, 128), (1, 5), (2, 5), (2, 128), (3, 5), (3, 128)]
        ),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_share_score_as_each_row_alone(family, seed, block, monkeypatch, in_double):
    """Log-probabilities, entropies, and gradients of every parameter."""
    monkeypatch.setitem(attention.BLOCK, "cpu", block)
    monkeypatch.setattr(attention, "LONG_BLOCK", 2 * block)
    model, rows = build(family), make_forest(seed)
    parts = pack(rows, 90)
    inputs = sum(len(row.ids) for row in rows)
    assert sum(part.tokens for part in parts) < 0.9 * inputs
    weights = torch.linspace(-1, 1, int(sampled_counts(rows).sum()), dtype=torch.float64)
    expected, expected_entropy = plain(model, rows, 0.7)
    (weights * expected).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for part in parts:
        scored = score(model, part, 0.7)
        torch.testing.assert_close(scored.logprobs, expected[part.token_N].detach(), rtol=0, atol=1e-10)
        torch.testing.assert_close(
            scored.entropy, expected_entropy[part.token_N].detach(), rtol=0, atol=1e-10
        )
        (scored.logprobs * weights[part.token_N]).sum().backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-10)


def truncated(rows, seed=0):
    """The rows, each token drawn among some ids; where rows begin alike, not always among the same."""
    rng = random.Random(seed)
    return [
        replace(
            row,
            kept=KeptSets.of(
                sorted({id, *rng.sample(range(WORDS), rng.choice([0, 1, 1, 5, 30]))})
                for id, sampled in zip(row.ids, row.sampled, strict=True)
                if sampled
            ),
        )
        for row in rows
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_drawn_among_some_ids_score_over_these_alone(family, in_double):
    """Log-probabilities, entropies, and the gradients of both in every parameter, also where rows share."""
    model, rows = build(family), truncated(make_forest())
    weights = torch.linspace(-1, 1, int(sampled_counts(rows).sum()), dtype=torch.float64)
    expected, expected_entropy = plain(model, rows, 0.7)
    assert (expected - plain(model, [replace(row, kept=None) for row in rows], 0.7)[0]).abs().mean() > 0.5
    (weights * expected + weights.square() * expected_entropy).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for part in pack(rows, 90):
        scored = score(model, part, 0.7, entropy_gradient=True)
        weights_N = weights[part.token_N]
        torch.testing.assert_close(scored.logprobs, expected[part.token_N], rtol=0, atol=1e-10)
        torch.testing.assert_close(scored.entropy, expected_entropy[part.token_N], rtol=0, atol=1e-10)
        (weights_N * scored.logprobs + weights_N.square() * scored.entropy).sum().backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-10)


def test_temperature_is_in_the_log_probabilities():
    model, rows = build("qwen3-tied"), make_rows()
    cold, warm = packed(model, rows, 0.7, 40)[0], packed(model, rows, 1.0, 40)[0]
    assert (cold - warm).abs().max() > 0.5
    torch.testing.assert_close(warm, plain(model, rows, 1.0)[0].detach(), rtol=0, atol=1e-10)


def batch_gradients(model, rows, order, budget, loss_type="grpo"):
    """One batch's loss with KL, its gradients and its metrics; `order` says in which order the rows come."""
    rows = [rows[i] for i in order]
    advantages_R = torch.linspace(-2, 1, len(rows), dtype=torch.float64)[torch.tensor(order)]
    spec = LOSSES[loss_type]
    constant = 20 if spec.normaliser == "constant" else None
    weights_R = token_weights(spec.normaliser, sampled_counts(rows), constant)
    old_S = flat_logprobs(rows).double()
    model.zero_grad()
    total, metrics, entropy = 0.0, PolicyMetrics(), 0.0
    for part in pack(rows, budget):
        scored = score(model, part, 0.9)
        old_N, weights_N = old_S[part.token_N], weights_R[part.row_N]
        loss, m = grpo_loss(
            scored.logprobs,
            old_N,
            advantages_R[part.row_N],
            weights_N,
            clip_low=0.2,
            clip_high=0.28,
            offsets=part.offsets,
            ratio=spec.ratio,
            objective=spec.objective,
            reference_logprobs=old_N - 0.1,
            kl_coefficient=0.1,
        )
        loss.backward()
        total, metrics = total + loss.item(), metrics + PolicyMetrics.read(m)
        entropy += scored.entropy.sum().item()
    return total, [p.grad.clone() for p in model.parameters()], metrics.means() | {"entropy": entropy}


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("family", ["qwen3-tied", "gpt2-absolute-positions"])
def test_gradients_do_not_depend_on_how_the_batch_is_cut(family, loss_type):
    model, rows = build(family), make_rows()
    assert len(pack(rows, 1)) == len(rows)
    assert len(pack(rows, 1000)) == 1
    forwards, backwards = list(range(8)), list(range(7, -1, -1))
    loss, gradients, metrics = batch_gradients(model, rows, forwards, 1000, loss_type)
    for order, budget in [(forwards, 1), (forwards, 30), (backwards, 1000), (backwards, 25)]:
        other, other_gradients, other_metrics = batch_gradients(model, rows, order, budget, loss_type)
        assert other == pytest.approx(loss, rel=1e-12)
        assert other_metrics == pytest.approx(metrics, rel=1e-12)
        for mine, theirs in zip(gradients, other_gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-13)


def test_gradients_are_those_of_full_logits():
    model, rows = build("qwen3-tied"), make_rows()
    weights = torch.linspace(-1, 1, int(sampled_counts(rows).sum()), dtype=torch.float64)
    model.zero_grad()
    (plain(model, rows, 0.7)[0] * weights).sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for part in pack(rows, 30):
        (score(model, part, 0.7).logprobs * weights[part.token_N]).sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_nothing_of_the_environments_tokens_reaches_loss_kl_or_entropy():
    """Perturb unscored positions, and what follows the last sampled token: the bits stay the same."""
    model, rows = build("qwen3-tied"), make_rows()
    perturbed = [
        replace(
            row,
            ids=(*row.ids, 3, 4),
            sampled=(*row.sampled, False, False),
            logprobs=(*(p if s else 1e3 for p, s in zip(row.logprobs, row.sampled, strict=True)), -7.0, 7.0),
        )
        for row in rows
    ]
    loss, gradients, metrics = batch_gradients(model, rows, list(range(8)), 40)
    other, other_gradients, other_metrics = batch_gradients(model, perturbed, list(range(8)), 40)
    assert other == loss
    assert other_metrics == metrics
    assert all(torch.equal(a, b) for a, b in zip(gradients, other_gradients, strict=True))


@pytest.mark.parametrize("family", ["qwen3-tied", "gpt2-absolute-positions"])
def test_the_ratio_before_the_first_update_is_one_to_the_bit(family):
    """Old log-probabilities without gradients, then the same path with them, in float32, in training mode."""
    model, rows = build(family).float(), make_rows()
    for part in pack(rows, 40):
        with torch.no_grad():
            old = score(model, part, 0.8).logprobs
        new = score(model, part, 0.8).logprobs
        assert new.requires_grad
        assert torch.equal(old, new)
        one = torch.ones_like(new).detach()
        _, metrics = grpo_loss(new, old, one, one, clip_low=0.2, clip_high=0.2)
        assert PolicyMetrics.read(metrics).ratio_max_deviation == 0.0


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_attention_are_switched_only_inside(training):
    model, (part,) = build("qwen3-tied").train(training), pack(make_rows(), 1000)
    reach(model)  # which computes with the model's own attention, too
    seen = []
    model.model.register_forward_pre_hook(
        lambda module, _: seen.append((module.config._attn_implementation, module.training))
    )
    before = model.config._attn_implementation
    score(model, part, 1.0)
    assert set(seen) == {(ATTENTION, False)}
    assert (model.config._attn_implementation, model.training, model.model.training) == (
        before,
        training,
        training,
    )
    with pytest.raises(IndexError):
        score(model, replace(part, ids_T=part.ids_T + WORDS), 1.0)
    assert (model.config._attn_implementation, model.training) == (before, training)


def test_mode_of_each_part_comes_back():
    model, (part,) = build("gpt2-absolute-positions"), pack(make_rows(), 1000)
    model.transformer.h[0].eval()
    score(model, part, 1.0)
    assert model.transformer.training
    assert not model.transformer.h[0].training
    assert model.transformer.h[1].training


def test_a_model_without_a_head_is_refused():
    (part,) = pack(make_rows(), 1000)
    with pytest.raises(UnsupportedModel, match="not a causal language model"):
        score(build("llama").model, part, 1.0)
