import pickle

from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.kept import KeptSets

ids = st.integers(0, 2**31 - 1)
sets = st.lists(st.sets(ids, min_size=1, max_size=5).map(sorted), max_size=6)


@given(st.lists(sets, max_size=4))
def test_sets_come_back_alone_and_joined(parts: list[list[list[int]]]) -> None:
    flat = [kept for part in parts for kept in part]
    joined = KeptSets.joined([KeptSets.of(part) for part in parts])
    assert joined == KeptSets.of(flat) == pickle.loads(pickle.dumps(joined))
    assert len(joined) == len(flat)
    assert [kept.tolist() for kept in joined] == flat
    assert len(joined.ids) + len(joined.sizes) == 4 * (sum(map(len, flat)) + len(flat))
