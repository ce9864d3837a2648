import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ludus.agents.engines.base import Sampling
from ludus.agents.engines.sampling import distribution, draw, uniforms

seeds = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(seeds, st.integers(0, 10_000)), min_size=1, max_size=8))
def test_a_uniform_depends_on_its_seed_and_counter_alone(pairs: list[tuple[int, int]]) -> None:
    together = uniforms(*zip(*pairs, strict=True))
    alone = [uniforms([seed], [counter])[0] for seed, counter in pairs]
    assert together.tolist() == alone
    assert all(0 <= u < 1 for u in alone)


def test_uniforms_are_uniform_along_seeds_and_along_counters() -> None:
    n = 20_000
    for us in (uniforms(range(n), [3] * n), uniforms([3] * n, range(n))):
        counts, _ = np.histogram(us, bins=20, range=(0, 1))
        chi2 = ((counts - n / 20) ** 2 / (n / 20)).sum()
        assert chi2 < 50  # 19 degrees of freedom: p ≈ 1e-4
        assert abs(np.corrcoef(us[:-1], us[1:])[0, 1]) < 0.03


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=1.3, top_k=7),
        Sampling(temperature=1.0, top_p=0.6),
        Sampling(temperature=0.9, min_p=0.1),
        Sampling(temperature=1.2, top_k=12, top_p=0.8, min_p=0.05),
    ],
)
def test_the_distribution_is_that_of_transformers_warpers_renormalised(sampling: Sampling) -> None:
    logits = torch.randn(16, 50, generator=torch.Generator().manual_seed(1)) * 3
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    expected = torch.log_softmax(warpers(None, logits.clone()), dim=-1)
    actual = distribution(logits, sampling)
    assert torch.equal(actual.isinf(), expected.isinf())
    torch.testing.assert_close(actual.exp(), expected.exp())


def test_draws_have_the_frequencies_of_the_distribution_and_never_leave_its_support() -> None:
    sampling = Sampling(temperature=1.5, top_k=5)
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0, 3.0, 0.5, 0.2]])
    n = 20_000
    ids, logprobs, *_ = draw(logits.expand(n, -1), sampling, uniforms(range(n), [0] * n))
    expected = distribution(logits, sampling)[0]
    assert torch.equal(logprobs, expected[ids])
    frequencies = torch.bincount(ids, minlength=7) / n
    torch.testing.assert_close(frequencies, expected.exp(), atol=0.012, rtol=0)
    assert frequencies[expected.isinf()].sum() == 0


@given(
    st.builds(
        Sampling,
        temperature=st.floats(0.2, 3),
        top_k=st.integers(0, 25),
        top_p=st.sampled_from([1.0, 0.95, 0.5, 1e-3]),
        min_p=st.sampled_from([0.0, 0.02, 0.5]),
    ),
    st.integers(0, 2**32),
)
def test_every_token_is_drawn_among_the_kept_ids_that_are_told(sampling: Sampling, seed: int) -> None:
    logits = 3 * torch.randn(4, 20, generator=torch.Generator().manual_seed(seed))
    ids, logprobs, kept, _ = draw(logits, sampling, uniforms([seed] * 4, range(4)))
    if not (0 < sampling.top_k < 20 or sampling.top_p < 1 or sampling.min_p > 0):
        assert len(kept) == 0
        whole = torch.log_softmax(logits / sampling.temperature, -1)
        assert torch.equal(logprobs, whole.gather(1, ids[:, None])[:, 0])
        return
    expected = [row.isfinite().nonzero()[:, 0].tolist() for row in distribution(logits, sampling)]
    assert [among.tolist() for among in kept] == expected
    for row, id, logprob, among in zip(logits, ids.tolist(), logprobs, expected, strict=True):
        alone = torch.log_softmax(row[among] / sampling.temperature, -1)
        torch.testing.assert_close(logprob, alone[among.index(id)], atol=1e-5, rtol=0)


@pytest.mark.parametrize("u", [0.0, 1 - 2.0**-48])
def test_the_ends_of_the_unit_interval_draw_tokens_of_the_support(u: float) -> None:
    logits = torch.full((1, 9), -torch.inf)
    logits[0, 3], logits[0, 6] = 1.0, -2.0
    ids, logprobs, *_ = draw(logits, Sampling(), np.array([u]))
    assert ids.item() == (3 if u == 0 else 6)
    assert logprobs.isfinite().all()


def test_greedy_gives_the_likeliest_and_its_logprob_at_temperature_1() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0]])
    ids, logprobs, kept, _ = draw(logits, Sampling(temperature=0, top_k=1), np.array([0.99]))
    assert ids.item() == 1
    assert len(kept) == 0  # the log-probability is that among all
    torch.testing.assert_close(logprobs, torch.log_softmax(logits, -1)[:, 1])
