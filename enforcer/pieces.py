"""Great sets that change by an element at a time, at a cost that depends on the change alone.

A frozenset of thousands is copied whole to change one element of it, and compared whole to find
that element again. From :data:`FEW` elements on a set is therefore cut into pieces by the hash of
its elements: the next version of it shares all pieces but those that changed, and what two versions
differ by is found by looking into those only. Nothing but time and memory depends on it: sets are
equal whose elements are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import chain, compress
from operator import is_not
from typing import Final, TypeVar

_T = TypeVar("_T")

FEW: Final = 256
"""Up to so many elements a frozenset is faster."""

PIECE: Final = 105
"""Elements of a piece, when a set is cut; later half as many, or twice. CPython makes room for 127
where there are more than 63, so that of as many on average few pieces need twice the room."""


class Pieces(AbstractSet[_T]):
    """A set in pieces; use :func:`collected` and :func:`changed` to make one."""

    __slots__ = ("_length", "_pieces")

    def __init__(self, pieces: tuple[frozenset[_T], ...]) -> None:
        """Each element is in the piece that the remainder of its hash names."""
        self._pieces = pieces
        self._length = sum(map(len, pieces))

    @classmethod
    def cut(cls, items: frozenset[_T]) -> Pieces[_T]:
        """Cut a set into pieces."""
        count = max(len(items) // PIECE, 1)
        pieces: list[set[_T]] = [set() for _ in range(count)]
        for item in items:
            pieces[hash(item) % count].add(item)
        return cls(tuple(map(frozenset, pieces)))

    @classmethod
    def _from_iterable(cls, items: Iterable[_T]) -> frozenset[_T]:  # type: ignore[override]
        return frozenset(items)

    def __contains__(self, item: object) -> bool:
        """Whether an element is in it."""
        return item in self._pieces[hash(item) % len(self._pieces)]

    def __iter__(self) -> Iterator[_T]:
        """Yield every element, in no order."""
        return chain.from_iterable(self._pieces)

    def __len__(self) -> int:
        """Return how many elements there are."""
        return self._length

    def __eq__(self, other: object) -> bool:
        """Whether a set has the same elements."""
        if isinstance(other, Pieces) and len(other._pieces) == len(self._pieces):
            return self._pieces == other._pieces
        return super().__eq__(other)

    def __hash__(self) -> int:
        """Return the hash of a frozenset with the same elements."""
        return self._hash()

    def fits(self) -> bool:
        """Whether it need not be cut anew: its pieces are neither too great nor too small."""
        return (
            self._length > FEW // 2 and PIECE // 2 <= self._length // len(self._pieces) < 2 * PIECE
        )

    def changed(self, gone: Iterable[_T], come: Iterable[_T]) -> Pieces[_T]:
        """Return it without some elements, and with others."""
        pieces: list[frozenset[_T]] = list(self._pieces)
        for item in gone:
            pieces[hash(item) % len(pieces)] -= {item}
        for item in come:
            pieces[hash(item) % len(pieces)] |= {item}
        return Pieces(tuple(pieces))

    def differs(self, other: Pieces[_T]) -> tuple[set[_T], set[_T]] | None:
        """Return what only this has, and what only the other has; None: it is cut otherwise."""
        if len(self._pieces) != len(other._pieces):
            return None
        here: set[_T] = set()
        there: set[_T] = set()
        pairs = zip(self._pieces, other._pieces, strict=True)
        for mine, others in compress(pairs, map(is_not, self._pieces, other._pieces)):
            here |= mine - others
            there |= others - mine
        return here, there


def collected(items: Iterable[_T]) -> AbstractSet[_T]:
    """Return a set of these elements, in pieces if it is great."""
    found = items if isinstance(items, frozenset) else frozenset(items)
    return found if len(found) <= FEW else Pieces.cut(found)


def changed(
    before: AbstractSet[_T], gone: AbstractSet[_T], come: AbstractSet[_T]
) -> AbstractSet[_T]:
    """Return a set without some elements and with others; the same object if that is the same."""
    if not gone and not come:
        return before
    if not isinstance(before, Pieces):
        return collected((frozenset(before) - gone) | come)
    after = before.changed(gone, come)
    return after if after.fits() else collected(after)


def difference(
    before: AbstractSet[_T], after: AbstractSet[_T]
) -> tuple[AbstractSet[_T], AbstractSet[_T]]:
    """Return which elements are gone, and which have come."""
    if before is after:
        return frozenset(), frozenset()
    if isinstance(before, Pieces) and isinstance(after, Pieces):
        found = before.differs(after)
        if found is not None:
            return found
    old, new = frozenset(before), frozenset(after)
    return old - new, new - old
