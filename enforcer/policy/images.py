"""Functions that remember their last answer, so that a change costs what it changes.

What has not changed *is* the same object in the next answer: whoever comes next need not look into
it. Nothing else depends on the memory, and an answer made from nothing is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class Image(Generic[_Item, _Made]):
    """The image of a set under a one-to-one function; elements that give None are left out.

    Sets of thousands change by one element at a time: what is the same as last time is neither
    made nor hashed again.
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


class Remembered(Generic[_Item, _Made]):
    """A function that remembers its last answer, and gives it as long as it is asked the same."""

    def __init__(self, function: Callable[[_Item], _Made]) -> None:
        """Start without a memory."""
        self._function = function
        self._last: tuple[_Item, _Made] | None = None

    def __call__(self, given: _Item) -> _Made:
        """Return the function's answer."""
        if self._last is None or self._last[0] != given:
            self._last = given, self._function(given)
        return self._last[1]
