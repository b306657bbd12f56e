"""The epoch: the number that a judged connection is stamped with, and when it must change.

A new epoch makes every live connection pay one slow look at its next packet and cuts those that
are no longer allowed, without a walk through conntrack.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from enforcer.errors import KernelError
from enforcer.nft.objects import Ruleset, Set, Table
from enforcer.ruleset.names import INET, is_allow_set
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.program import STAMP

InUse = Callable[[int], bool]

NOTE = re.compile(r"^epoch (\d+) of (0x[0-9a-f]+) ")


def current_epoch(have: Ruleset, options: LowerOptions) -> int | None:
    """Return the epoch of the kernel's table.

    None where there is no table of ours, or one that stamps other bits of the mark.
    """
    inet = have.tables.get(INET)
    chain = inet.chains.get(STAMP) if inet else None
    for rule in chain.rules if chain else ():
        found = NOTE.match(rule.comment)
        if found and int(found[2], 16) == options.mark_mask:
            return int(found[1])
    return None


def needs_bump(have: Ruleset, want: Ruleset) -> bool:
    """Whether the change from ``have`` to ``want`` (of the same epoch) may forbid anything.

    It does unless it only adds elements to sets that allow. A dispatch element that moves counts,
    and so does a pod's address that goes: its stamped connections would pass on to the next pod
    with that address. Table ``bridge npd`` remembers nothing, so its changes never count.
    """
    old, new = have.tables[INET], want.tables[INET]
    return (
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
    return before == after or (is_allow_set(name) and _grows(before, after))


def _grows(before: Set, after: Set) -> bool:
    same_type = (before.fields, before.interval) == (after.fields, after.interval)
    return same_type and before.elements <= after.elements


def next_epoch(after: int, options: LowerOptions, in_use: InUse) -> int:
    """Return the first epoch after ``after`` that no conntrack entry carries; never 0.

    Numbers come round again after the last one, and a table made anew does not know which were
    used before it: so each is looked for before it is used.
    """
    for step in range(options.last_epoch):
        candidate = (after + step) % options.last_epoch + 1
        if not in_use(options.mark(candidate)):
            return candidate
    raise KernelError(
        f"conntrack entries carry every mark of mask {options.mark_mask:#x}: does another program "
        "use these bits? Choose another --mark-mask"
    )
