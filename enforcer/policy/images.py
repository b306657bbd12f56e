"""What a function makes of each element of a set, made again at the cost of what has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class Image(Generic[_Item, _Made]):
    """The image of a set under a one-to-one function; elements that give None are left out.

    Sets of thousands change by one element at a time. What is the same as last time is neither
    made nor hashed again, and equal sets give the same object, which whoever comes next need not
    look into.
    """

    def __init__(self, function: Callable[[_Item], _Made | None]) -> None:
        """Start with the image of the empty set."""
        self._function = function
        self._items: frozenset[_Item] = frozenset()
        self._image: frozenset[_Made] = frozenset()

    def of(self, items: frozenset[_Item]) -> frozenset[_Made]:
        """Return the image of ``items``."""
        if items is self._items:
            return self._image
        gone, come = self._items - items, items - self._items
        if len(gone) > len(items):
            self._image = frozenset(self._each(items))
        elif gone or come:
            made, unmade = frozenset(self._each(come)), frozenset(self._each(gone))
            if made or unmade:
                self._image = (self._image - unmade) | made
        self._items = items
        return self._image

    def _each(self, items: Iterable[_Item]) -> Iterable[_Made]:
        return (made for item in items if (made := self._function(item)) is not None)
