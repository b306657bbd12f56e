"""The epoch: the number that a judged connection is stamped with, and when it must change.

A new epoch makes every live connection pay one slow look at its next packet and cuts those that
are no longer allowed, without a walk through conntrack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from enforcer.errors import KernelError
from enforcer.model.net import Family
from enforcer.nft.diff import stand_in
from enforcer.nft.objects import Ruleset, Table
from enforcer.pieces import difference
from enforcer.ruleset.names import JUDGES, is_allow_set
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.program import STAMP

InUse = Callable[[int, int], bool]

LONGEST_ROW = 256
"""Epochs that are looked for at once; when one of them is in use, each is looked for by itself."""

NOTE = re.compile(r"^epoch (\d+) of (0x[0-9a-f]+) ")


Epochs = Mapping[Family, int]
"""Of each family's table. A connection is of one family: only that table stamps it or asks it."""


def current_epoch(have: Ruleset, family: Family, options: LowerOptions) -> int | None:
    """Return the epoch of a family's table in the kernel.

    None where it is missing, or stamps other bits of the mark.
    """
    return _epoch_of(have.tables.get(JUDGES[family]), options)


def latest_epoch(have: Ruleset, family: Family, options: LowerOptions) -> int:
    """Return the last epoch that a table of the kernel's stamps; 0 where none does.

    A stand-in that was left goes on to stamp while the table itself is made anew.
    """
    stamping = (JUDGES[family], stand_in(JUDGES[family]))
    return max(_epoch_of(have.tables.get(id_), options) or 0 for id_ in stamping)


def _epoch_of(table: Table | None, options: LowerOptions) -> int | None:
    found = stamped(table)
    return found[0] if found and found[1] == options.mark_mask else None


def stamped(table: Table | None) -> tuple[int, int] | None:
    """Return the epoch that a table stamps, and the bits of the mark that it has for that."""
    chain = table.chains.get(STAMP) if table else None
    notes = (NOTE.match(rule.comment) for rule in chain.rules) if chain else iter(())
    return next(((int(note[1]), int(note[2], 16)) for note in notes if note), None)


def needs_bump(old: Table, new: Table) -> bool:
    """Whether the change from one table to another (of the same epoch) may forbid anything.

    It does unless it only adds elements to sets that allow. A dispatch element that moves counts,
    and so does a pod's address that goes: its stamped connections would pass on to the next pod
    with that address. Table ``bridge npd`` remembers nothing, so its changes never count.
    """
    return old is not new and (
        old.chains != new.chains
        or old.maps != new.maps
        or old.sets.keys() != new.sets.keys()
        or any(
            not _only_allows(old, new, name)
            for name in new.sets
            if old.sets[name] is not new.sets[name]
        )
    )


def _only_allows(old: Table, new: Table, name: str) -> bool:
    before, after = old.sets[name], new.sets[name]
    gone, come = difference(before.elements, after.elements)
    return before.type == after.type and not gone and (not come or is_allow_set(name))


class FreeEpochs:
    """Epochs that no conntrack entry carries.

    Numbers come round again after the last one, and a table made anew does not know which were
    used before it: so each is looked for before it is used. The kernel walks through the whole of
    conntrack for that, of all network namespaces and both families. So many numbers are looked for
    at once, and as nobody else stamps a family's connections, those that were free stay free until
    its table uses them.
    """

    def __init__(self, options: LowerOptions, in_use: InUse) -> None:
        """``in_use(mark, mask)`` says whether an entry carries ``mark`` in the bits of ``mask``."""
        self._options = options
        self._in_use = in_use
        self._free = range(0)

    def next(self, after: int) -> int:
        """Return the first epoch after ``after`` that is free; never 0."""
        for step in range(self._options.last_epoch):
            candidate = (after + step) % self._options.last_epoch + 1
            if candidate not in self._free:
                self._free = self._look(candidate)
            if candidate in self._free:
                self._free = range(candidate + 1, self._free.stop)
                return candidate
        raise KernelError(
            f"conntrack entries carry every mark of mask {self._options.mark_mask:#x}: does "
            "another program use these bits? Choose another --mark-mask"
        )

    def _look(self, first: int) -> range:
        """Return the free epochs from ``first`` on, of a row that one look can tell of."""
        row = min(first & -first, LONGEST_ROW)  # as long as its last bits are 0, one mask fits all
        for length in (row, 1):
            mask = self._options.mark_mask & ~self._options.mark(length - 1)
            if not self._in_use(self._options.mark(first), mask):
                return range(first, first + length)
        return range(0)
