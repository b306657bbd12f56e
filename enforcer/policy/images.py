"""Functions that remember their last answer, so that a change costs what it changes.

What has not changed *is* the same object in the next answer: whoever comes next need not look into
it. Nothing else depends on the memory, and an answer made from nothing is equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

from enforcer.pieces import changed, collected, difference

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
_Source = TypeVar("_Source")


class Image(Generic[_Item, _Made]):
    """The image of a set under a one-to-one function; elements that give None are left out.

    Sets of thousands change by one element at a time: what is the same as last time is neither
    made nor hashed again.
    """

    def __init__(self, function: Callable[[_Item], _Made | None]) -> None:
        """Start with the image of the empty set."""
        self._function = function
        self._items: AbstractSet[_Item] = frozenset()
        self._image: AbstractSet[_Made] = frozenset()

    def of(self, items: AbstractSet[_Item]) -> AbstractSet[_Made]:
        """Return the image of ``items``."""
        if items is not self._items:
            gone, come = difference(self._items, items)
            self._image = changed(self._image, self._each(gone), self._each(come))
            self._items = items
        return self._image

    def _each(self, items: AbstractSet[_Item]) -> frozenset[_Made]:
        return frozenset(made for item in items if (made := self._function(item)) is not None)


class Gathered(Generic[_Source, _Item]):
    """What some sources give together, kept up to date source by source.

    An element that several give is there until the last of them does not give it any more.
    """

    def __init__(self) -> None:
        """Start without sources."""
        self._given: dict[_Source, frozenset[_Item]] = {}
        self._again: Counter[_Item] = Counter()
        """How many sources give an element, beside the first: as a rule there are no others."""

        self.all: AbstractSet[_Item] = frozenset()

    def give(self, given: Mapping[_Source, frozenset[_Item]]) -> None:
        """Let sources give these elements, and no others that they gave before."""
        gone: set[_Item] = set()
        come: set[_Item] = set()
        for source, items in given.items():
            before = self._given.pop(source, frozenset())
            if items:
                self._given[source] = items
            for item in before - items:
                self._take(item, gone, come)
            for item in items - before:
                self._add(item, gone, come)
        self.all = changed(self.all, gone, come)

    def _take(self, item: _Item, gone: set[_Item], come: set[_Item]) -> None:
        if item in self._again:
            self._again[item] -= 1
            if not self._again[item]:
                del self._again[item]
        elif item in come:
            come.remove(item)
        else:
            gone.add(item)

    def _add(self, item: _Item, gone: set[_Item], come: set[_Item]) -> None:
        if item in gone:
            gone.remove(item)
        elif item in come or item in self.all:
            self._again[item] += 1
        else:
            come.add(item)


class United(Generic[_Item]):
    """The union of some sets, time and again."""

    def __init__(self) -> None:
        """Start with the union of no sets."""
        self._parts: tuple[AbstractSet[_Item], ...] = ()
        self._whole: AbstractSet[_Item] = frozenset()

    def of(self, parts: Iterable[AbstractSet[_Item]]) -> AbstractSet[_Item]:
        """Return the union of ``parts``; of one alone, itself: 8,000 elements less for a class."""
        different = tuple({id(item): item for item in parts if item}.values())
        if len(different) == 1:
            self._whole = different[0]
        elif len(different) == len(self._parts):
            self._change(different)
        else:
            self._whole = collected(frozenset().union(*different))
        self._parts = different
        return self._whole

    def _change(self, parts: tuple[AbstractSet[_Item], ...]) -> None:
        let_go: set[_Item] = set()
        come: set[_Item] = set()
        for old, new in zip(self._parts, parts, strict=True):
            if old is not new:
                gone, fresh = difference(old, new)
                let_go |= gone
                come |= fresh
        gone = {item for item in let_go - come if not any(item in part for part in parts)}
        self._whole = changed(self._whole, gone, come - self._whole)


class Remembered(Generic[_Item, _Made]):
    """A function that remembers its last answer, and gives it as long as it is asked the same."""

    def __init__(self, function: Callable[[_Item], _Made]) -> None:
        """Start without a memory."""
        self._function = function
        self._last: tuple[_Item, _Made] | None = None

    def __call__(self, given: _Item) -> _Made:
        """Return the function's answer."""
        # A set is compared with itself element by element: look first whether it is the same.
        if self._last is None or (self._last[0] is not given and self._last[0] != given):
            self._last = given, self._function(given)
        return self._last[1]
