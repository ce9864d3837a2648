"""Packing: nothing lost, nothing twice, nothing from the environment, in a stable order."""

import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode, StopReason, TrainingSequence, Turn
from ludus.agents.kept import KeptSets
from ludus.trainers.batches.packing import MicroBatch, flat_logprobs, pack, sampled_counts
from ludus.trainers.batches.prefixes import LEAST_SHARED, Branch


@st.composite
def sequences(draw):
    """Of few ids, so that many begin alike."""
    length = draw(st.integers(1, 30))
    sampled = [False, *draw(st.lists(st.booleans(), min_size=length - 1, max_size=length - 1))]
    start = draw(st.sampled_from([(), (1,) * 12, (1,) * 12 + (2,) * 9]))
    ids = (*start, *draw(st.lists(st.integers(0, 3), min_size=length, max_size=length)))[:length]
    return TrainingSequence(
        ids, tuple(sampled), tuple(-float(i) if s else 0.0 for i, s in zip(ids, sampled, strict=True))
    )


def context(batch: MicroBatch, place: int) -> list[int]:
    """The ids that a token sees, itself the last."""
    (branch,) = [branch for branch in batch.branches if branch.begin <= place < branch.end]
    seen = [*branch.prefix, (branch.begin, place + 1)]
    at = [t for begin, end in seen for t in range(begin, end)]
    assert batch.positions_T[at].tolist() == list(range(len(at)))
    return batch.ids_T[at].tolist()


@given(rows=st.lists(sequences(), max_size=10), budget=st.integers(1, 60))
@settings(max_examples=200)
def test_every_sampled_token_is_scored_once_from_the_tokens_before_it(rows, budget):
    batches = pack(rows, budget)
    expected = [
        (r, list(row.ids[:t]), row.ids[t])
        for r, row in enumerate(rows)
        for t, s in enumerate(row.sampled)
        if s
    ]
    found = {}
    for batch in batches:
        assert batch.branches[0].prefix == ()
        assert len(batch.branches) == 1 or batch.tokens <= budget
        assert sum(branch.length for branch in batch.branches) == batch.tokens == len(batch.positions_T)
        assert [branch.begin for branch in batch.branches[1:]] == [b.end for b in batch.branches[:-1]]
        for begin, end in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
            row_N = batch.row_N[begin:end]
            assert len(row_N) == sum(rows[int(row_N[0])].sampled)
            assert (row_N == row_N[0]).all()
        predictions = list(zip(batch.places_P.tolist(), batch.targets_P.tolist(), strict=True))
        assert len(set(predictions)) == len(predictions)
        for prediction, row, token in zip(
            batch.prediction_N.tolist(), batch.row_N.tolist(), batch.token_N.tolist(), strict=True
        ):
            place, target = predictions[prediction]
            assert token not in found
            found[token] = (row, context(batch, place), target)
    assert [found[token] for token in range(len(expected))] == expected
    assert len(found) == len(expected)


@st.composite
def truncated(draw):
    """Few sets, so that equal and unequal ones meet at the same token."""
    row = draw(sequences())
    others = st.sets(st.sampled_from([0, 1, 2, 3, 8]), max_size=2)
    kept = [sorted({id, *draw(others)}) for id, sampled in zip(row.ids, row.sampled, strict=True) if sampled]
    return replace(row, kept=KeptSets.of(kept))


@given(rows=st.lists(truncated(), max_size=10), budget=st.integers(1, 60))
@settings(max_examples=200)
def test_every_token_has_the_set_that_it_was_drawn_among(rows, budget):
    kept_S = [among.tolist() for row in rows for among in row.kept]
    found = {}
    for batch in pickle.loads(pickle.dumps(pack(rows, budget))):
        support = batch.support_P
        sets = [ids.tolist() for ids in support.ids.split(support.offsets.diff().tolist())]
        targets = batch.targets_P.tolist()
        assert all(target in among for target, among in zip(targets, sets, strict=True))
        distinct = {*zip(batch.places_P.tolist(), targets, map(tuple, sets), strict=True)}
        assert len(distinct) == len(targets)
        found |= {
            n: sets[p] for n, p in zip(batch.token_N.tolist(), batch.prediction_N.tolist(), strict=True)
        }
    assert [found[n] for n in range(len(kept_S))] == kept_S


def test_kept_sets_change_nothing_else():
    """Rows that were drawn among the same ids share as they do without."""
    rows = [row(9, fill=fill) for fill in (5, 5, 6)]
    same = [replace(row, kept=KeptSets.of([range(8)] * 8)) for row in rows]
    (plain,), (among,) = pack(rows, 100), pack(same, 100)
    assert len(among.places_P) == 16
    for name in ("ids_T", "positions_T", "places_P", "targets_P", "prediction_N", "row_N", "token_N"):
        assert torch.equal(getattr(plain, name), getattr(among, name))


def test_kept_sets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="row 0 has 2 kept sets for 3 sampled tokens"):
        pack([replace(row(4), kept=KeptSets.of([[5], [5]]))], 10)
    with pytest.raises(ValueError, match="a sampled token is not in its kept set"):
        pack([replace(row(4), kept=KeptSets.of([[5, 6], [5], [6]]))], 10)
    with pytest.raises(ValueError, match="some rows have kept sets and others none"):
        pack([row(4), replace(row(4), kept=KeptSets.of([[5]] * 3))], 10)


@given(rows=st.lists(sequences(), min_size=1, max_size=10))
@settings(max_examples=200)
def test_what_rows_have_in_common_is_there_once(rows):
    """At most as many tokens as distinct beginnings of rows, and a few more for each row."""
    inputs = {row.ids[: max(t for t, s in enumerate(row.sampled) if s)] for row in rows if any(row.sampled)}
    distinct = {ids[:end] for ids in inputs for end in range(1, len(ids) + 1)}
    tokens = sum(batch.tokens for batch in pack(rows, 10_000))
    assert len(distinct) <= tokens <= len(distinct) + (LEAST_SHARED - 1) * len(inputs)


def test_samples_of_a_prompt_turns_and_forks_share() -> None:
    prompt, said = tuple(range(100)), tuple(range(100, 110))
    first = [
        TrainingSequence((*prompt, n, *said), (False,) * 100 + (True,) * 11, (0.0,) * 111) for n in (1, 2)
    ]
    fork = TrainingSequence((*first[0].ids, *said, 5, 6), (False,) * 121 + (True,) * 2, (0.0,) * 123)
    (batch,) = pack([*first, fork], 1000)
    assert batch.tokens == 100 + 10 + 12 + 10
    assert [branch.depth for branch in batch.branches] == [0, 110, 100]
    assert len(batch.places_P) == 11 + 11 + 2


def test_a_row_that_is_there_twice_costs_nothing() -> None:
    (batch,) = pack([row(40)] * 30, 40)
    assert batch.tokens == 39
    assert len(batch.places_P) == 39
    assert len(batch.token_N) == 30 * 39


@given(rows=st.lists(sequences(), max_size=10), budget=st.integers(1, 30))
@settings(max_examples=50)
def test_flat_order_is_the_order_of_the_rows(rows, budget):
    old_S = flat_logprobs(rows)
    assert len(old_S) == sampled_counts(rows).sum()
    for batch in pack(rows, budget):
        assert torch.equal(old_S[batch.token_N], -batch.targets_P[batch.prediction_N].float())


def row(length, prompt=1, fill=5):
    return TrainingSequence(
        (fill,) * length,
        (False,) * prompt + (True,) * (length - prompt),
        (0.0,) * prompt + (-1.0,) * (length - prompt),
    )


def test_rows_come_in_lexicographic_order_and_equal_ones_keep_theirs():
    rows = [row(6, fill=7)] * 3 + [row(9, fill=5)] + [row(6, fill=6)] * 3
    order = [r for batch in pack(rows, 5) for r in dict.fromkeys(batch.row_N.tolist())]
    assert order == [3, 4, 5, 6, 0, 1, 2]


def test_packing_is_deterministic():
    rows = [row(2 + i % 7, fill=i) for i in range(50)]
    first, second = pack(rows, 20), pack(list(rows), 20)
    assert [b.row_N.tolist() for b in first] == [b.row_N.tolist() for b in second]
    assert [b.ids_T.tolist() for b in first] == [b.ids_T.tolist() for b in second]


def test_a_row_longer_than_the_budget_is_alone():
    batches = pack([row(4, fill=1), row(50, fill=2), row(4, fill=3), row(4, fill=4)], 6)
    assert [[branch.length for branch in b.branches] for b in batches] == [[3], [49], [3, 3]]


def test_rows_without_sampled_tokens_are_left_out():
    silent = TrainingSequence((1, 2, 3), (False,) * 3, (0.0,) * 3)
    (batch,) = pack([silent, row(4), silent], 100)
    assert batch.branches == (Branch(0, 3),)
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
    (batch,) = pack(episode.training_sequences(), 8)
    targets = batch.targets_P[batch.prediction_N].tolist()
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
