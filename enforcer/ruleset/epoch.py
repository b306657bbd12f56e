"""The epoch: the number that a judged connection is stamped with, and when it must change.

A new epoch makes every live connection pay one slow look at its next packet and cuts those that
are no longer allowed, without a walk through conntrack.

A set of ranges that loses elements takes two of them. The kernel shows the change of such a set a
moment after the rules of the same transaction (``nft_set_commit_update`` in
net/netfilter/nf_tables_api.c): a packet in between meets the new epoch and the old ranges, and what
is stamped then would last. So the epoch that comes with the change is *unsettled*, and a second one
follows by itself. Whoever finds an unsettled one in the kernel, left by a daemon that was killed,
takes a new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enforcer.errors import KernelError
from enforcer.model.net import Family
from enforcer.nft.diff import stand_in
from enforcer.nft.objects import Ruleset, Table
from enforcer.pieces import difference
from enforcer.ruleset.given import UNSETTLED
from enforcer.ruleset.names import JUDGES, is_allow_set
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.program import STAMP

InUse = Callable[[int, int], bool]

LONGEST_ROW = 256
"""Epochs that are looked for at once; when one of them is in use, each is looked for by itself."""

NOTE = re.compile(rf"^epoch (\d+) of (0x[0-9a-f]+)({UNSETTLED})? ")


Epochs = Mapping[Family, int]
"""Of each family's table. A connection is of one family: only that table stamps it or asks it."""


def current_epoch(have: Ruleset, family: Family, options: LowerOptions) -> int | None:
    """Return the epoch of a family's table in the kernel.

    None where it is missing or unsettled, or stamps other bits of the mark.
    """
    found = stamped(have.tables.get(JUDGES[family]))
    return found.epoch if found and found.settled and found.mask == options.mark_mask else None


def latest_epoch(have: Ruleset, family: Family, options: LowerOptions) -> int:
    """Return the last epoch that a table of the kernel's stamps; 0 where none does.

    A stand-in that was left goes on to stamp while the table itself is made anew.
    """
    stamping = (JUDGES[family], stand_in(JUDGES[family]))
    found = (stamped(have.tables.get(id_)) for id_ in stamping)
    return max((item.epoch for item in found if item and item.mask == options.mark_mask), default=0)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The epoch that a table stamps, in the bits of ``mask``."""

    epoch: int
    mask: int
    settled: bool


def stamped(table: Table | None) -> Stamp | None:
    """Return what a table stamps connections with; None for one that does not."""
    chain = table.chains.get(STAMP) if table else None
    notes = (NOTE.match(rule.comment) for rule in chain.rules) if chain else iter(())
    stamps = (Stamp(int(note[1]), int(note[2], 16), not note[3]) for note in notes if note)
    return next(stamps, None)


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


def needs_second(old: Table | None, new: Table) -> bool:
    """Whether a set of ranges that is asked before and after loses elements."""
    return old is not None and any(
        difference(old.sets[name].elements, item.elements)[0]
        for name, item in new.sets.items()
        if item.interval and name in old.sets and old.sets[name] is not item
    )


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
