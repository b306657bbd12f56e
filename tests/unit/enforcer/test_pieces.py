"""Great sets in pieces mean what frozensets mean, and share what has not changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.pieces import FEW, PIECE, Pieces, changed, collected, difference

NUMBERS = st.integers(0, 40)
CHANGES = st.lists(
    st.tuples(st.frozensets(NUMBERS, max_size=9), st.frozensets(NUMBERS, max_size=9))
)
GREAT = frozenset(range(20 * FEW))


@settings(deadline=None)  # machines are busy
@given(st.sampled_from([0, FEW // 2, FEW, FEW + 1, 9 * FEW]), CHANGES)
def test_every_version_has_the_elements_of_a_frozenset(
    size: int, steps: list[tuple[frozenset[int], frozenset[int]]]
) -> None:
    """However large it is and however it came about: elements, length, equality and hash."""
    first = frozenset(range(100, 100 + size))
    plain, found = first, collected(first)
    for gone, come in steps:
        plain, found = (plain - gone) | (come - gone), changed(found, gone, come - gone)

        assert {*found} == plain
        assert len(found) == len(plain)
        assert found == plain
        assert plain == found
        assert hash(found) == hash(plain)
        assert all((item in found) == (item in plain) for item in range(105))


@settings(deadline=None)  # machines are busy
@given(st.frozensets(NUMBERS), st.frozensets(NUMBERS), st.booleans(), st.booleans())
def test_a_difference_is_both_differences(
    one: frozenset[int], two: frozenset[int], cut: bool, grown: bool
) -> None:
    """Of plain sets, of sets in pieces, and of one with the other."""
    before = one | GREAT if cut else one
    after = (one | GREAT if grown else one) - one | two

    gone, come = difference(collected(before), collected(after))

    assert (gone, come) == (before - after, after - before)


def test_what_has_not_changed_is_shared() -> None:
    """One element more is one piece made anew, and no difference is no new set."""
    before = collected(GREAT)
    after = changed(before, frozenset(), frozenset({-1}))
    assert isinstance(before, Pieces)
    assert isinstance(after, Pieces)
    shared = sum(map(lambda one, two: one is two, before._pieces, after._pieces))

    assert shared == len(before._pieces) - 1
    assert changed(before, frozenset(), frozenset()) is before
    assert difference(before, after) == (frozenset(), {-1})


@pytest.mark.parametrize("size", [FEW // 4, 40 * FEW])
def test_a_set_that_grows_or_shrinks_is_cut_anew(size: int) -> None:
    """Pieces stay of a size that is quick to copy, and a small set is a frozenset again."""
    found = collected(frozenset(range(4 * FEW)))
    for start in range(0, 40 * FEW, 100):
        some = frozenset(range(start, start + 100))
        keep = frozenset(item for item in some if item < size)
        found = changed(found, some - keep, keep)

    assert found == frozenset(range(size))
    if isinstance(found, Pieces):
        assert PIECE // 2 <= len(found) // len(found._pieces) < 2 * PIECE
    else:
        assert size <= FEW
