"""Packing: nothing lost, nothing twice, nothing from the environment, in a stable order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode, StopReason, TrainingSequence, Turn
from ludus.trainers.batches.packing import flat_logprobs, pack, sampled_counts


@st.composite
def sequences(draw):
    length = draw(st.integers(1, 12))
    sampled = [False, *draw(st.lists(st.booleans(), min_size=length - 1, max_size=length - 1))]
    ids = draw(st.lists(st.integers(0, 99), min_size=length, max_size=length))
    return TrainingSequence(
        tuple(ids), tuple(sampled), tuple(-float(i) if s else 0.0 for i, s in zip(ids, sampled, strict=True))
    )


@given(rows=st.lists(sequences(), max_size=10), budget=st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_every_sampled_token_is_scored_once_from_the_token_before_it(rows, budget):
    batches = pack(rows, budget)
    expected = [
        (r, row.ids[:t], row.ids[t]) for r, row in enumerate(rows) for t, s in enumerate(row.sampled) if s
    ]
    found = {}
    for batch in batches:
        assert len(batch.lengths) == 1 or batch.tokens <= budget
        assert sum(batch.lengths) == batch.tokens == len(batch.positions_T)
        starts = torch.tensor([0, *batch.lengths]).cumsum(0).tolist()
        assert len(batch.offsets) == len(batch.lengths) + 1
        for begin, end in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
            row_N = batch.row_N[begin:end]
            assert len(row_N) == sum(rows[int(row_N[0])].sampled)
            assert (row_N == row_N[0]).all()
        assert batch.positions_T.tolist() == [p for n in batch.lengths for p in range(n)]
        for place, target, row, token in zip(
            batch.scored_N.tolist(),
            batch.targets_N.tolist(),
            batch.row_N.tolist(),
            batch.token_N.tolist(),
            strict=True,
        ):
            start = max(s for s in starts if s <= place)
            assert token not in found
            found[token] = (row, tuple(batch.ids_T[start : place + 1].tolist()), target)
    assert [found[token] for token in range(len(expected))] == expected
    assert len(found) == len(expected)


@given(rows=st.lists(sequences(), max_size=10), budget=st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_flat_order_is_the_order_of_the_rows(rows, budget):
    old_S = flat_logprobs(rows)
    assert len(old_S) == sampled_counts(rows).sum()
    for batch in pack(rows, budget):
        assert torch.equal(old_S[batch.token_N], -batch.targets_N.float())


def row(length, prompt=1, fill=5):
    return TrainingSequence(
        (fill,) * length,
        (False,) * prompt + (True,) * (length - prompt),
        (0.0,) * prompt + (-1.0,) * (length - prompt),
    )


def test_rows_of_equal_length_keep_their_order():
    rows = [row(6)] * 40 + [row(9)] + [row(6)] * 40
    order = [r for batch in pack(rows, 5) for r in dict.fromkeys(batch.row_N.tolist())]
    assert order == [40, *range(40), *range(41, 81)]


def test_packing_is_deterministic():
    rows = [row(2 + i % 7, fill=i) for i in range(50)]
    first, second = pack(rows, 20), pack(list(rows), 20)
    assert [b.row_N.tolist() for b in first] == [b.row_N.tolist() for b in second]
    assert [b.ids_T.tolist() for b in first] == [b.ids_T.tolist() for b in second]


def test_a_row_longer_than_the_budget_is_alone():
    batches = pack([row(4), row(50), row(4)], 10)
    assert [b.lengths for b in batches] == [(49,), (3, 3)]


def test_rows_without_sampled_tokens_are_left_out():
    silent = TrainingSequence((1, 2, 3), (False,) * 3, (0.0,) * 3)
    (batch,) = pack([silent, row(4), silent], 100)
    assert batch.lengths == (3,)
    assert set(batch.row_N.tolist()) == {1}
    assert pack([silent], 100) == []


def test_environment_tokens_are_never_scored_and_the_end_of_turn_exactly_once():
    end = 7
    turns = [
        Turn(
            [],
            {"role": "assistant", "content": ""},
            0.0,
            {},
            prompt,
            completion,
            (-1.0,) * len(completion),
            "stop",
        )
        for prompt, completion in [
            ((1, 2, end), (3, 4, end)),
            ((20, 21, end, 22), (5, end)),
            ((23,), (6, 6, end)),
        ]
    ]
    episode = Episode("e", {}, 0, "t", tuple(turns), StopReason.TERMINATED)
    targets = [t for batch in pack(episode.training_sequences(), 8) for t in batch.targets_N.tolist()]
    assert targets == [3, 4, end, 5, end, 6, 6, end]


def test_a_row_that_starts_with_a_sampled_token_is_refused():
    with pytest.raises(ValueError, match="row 1: its first token is marked as sampled"):
        pack([row(3), row(3, prompt=0)], 10)


def test_a_row_of_unequal_fields_is_refused():
    with pytest.raises(ValueError, match="row 0 has 2 ids, 1 marks and 2"):
        pack([TrainingSequence((1, 2), (False,), (0.0, 0.0))], 10)


def test_a_budget_below_one_is_refused():
    with pytest.raises(ValueError, match="token_budget must be at least 1"):
        pack([row(3)], 0)
