"""Sets that must not change while packets are asked by them: others take their places meanwhile.

The kernel shows what is new in a set of concatenated ranges a moment after it has taken away what
is gone (``nft_set_commit_update``, net/netfilter/nf_tables_api.c): a packet that both the old
elements and the new ones allow would find neither. So a set in which ranges are cut otherwise is
not changed: another one with the new elements takes its place, under a name of its own, until the
set has been made anew. The same where many elements go: each costs the kernel time in proportion to
the set.

And a packet that is under way keeps the rules that it started with, but each look into a set shows
it the newest elements. Where a chain asks other sets than before, one that it goes on asking loses
nothing until no packet has the old rules: who was found there and is found elsewhere now would be
found by neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import Final

from enforcer.nft.elements import spans
from enforcer.nft.objects import LOOKUP, Chain, FieldType, Rule, Set, Table, rule
from enforcer.pieces import difference

MOST_DELETED: Final = 16
"""Elements that are deleted one by one; loading a set anew costs its size once, not each time."""


def with_sets_aside(old: Table, new: Table) -> Table:
    """Return ``new`` with other sets for those that cannot become ``new``'s while they are asked.

    The very same table where there are none.
    """
    asked = _asked_otherwise(old, new)
    names = {
        name: _free(name, old)
        for name, set_ in new.sets.items()
        if (set_.interval or name in asked)
        and (before := old.sets.get(name)) is not None
        and before is not set_
        and _must_not_change(before, set_, asked_otherwise=name in asked)
    }
    if not names:
        return new
    sets = (replace(item, name=names.get(item.name, item.name)) for item in new.sets.values())
    chains = (_asking(chain, names) for chain in new.chains.values())
    return replace(
        new,
        sets={item.name: item for item in sets},
        chains={item.name: item for item in chains},
    )


def _must_not_change(old: Set, new: Set, *, asked_otherwise: bool) -> bool:
    """Whether a packet that both versions of a set hold may find neither during the change.

    Also where the change would take the kernel too long.
    """
    gone, come = difference(old.elements, new.elements)
    if asked_otherwise and gone:
        return True
    return new.interval and (len(gone) > MOST_DELETED or _overlap(gone, come, new.fields))


def _asked_otherwise(old: Table, new: Table) -> set[str]:
    """Return the sets that chains ask whose rules are others than before."""
    return {
        name
        for chain in new.chains.values()
        if (before := old.chains.get(chain.name)) is not None and before is not chain
        if before.rules != chain.rules
        for item in chain.rules
        for name in LOOKUP.findall(item.expression)
    }


def _overlap(these: Iterable[str], those: Iterable[str], fields: Sequence[FieldType]) -> bool:
    """Whether an element of the one and an element of the other hold the same packet."""
    others = [spans(item, fields) for item in those]
    return any(
        all(
            first <= end and begin <= last
            for (first, last), (begin, end) in zip(spans(item, fields), other, strict=True)
        )
        for item in these
        for other in others
    )


def _free(name: str, table: Table) -> str:
    """Return a name that the table does not have: it may have one from a change that broke off."""
    names = (f"{name}_aside{number}" for number in count(1))
    return next(found for found in names if found not in table.sets)


def _asking(chain: Chain, names: dict[str, str]) -> Chain:
    """Return a chain that asks the sets by their other names."""
    rules = tuple(_renamed(item, names) for item in chain.rules)
    return chain if rules == chain.rules else replace(chain, rules=rules)


def _renamed(item: Rule, names: dict[str, str]) -> Rule:
    expression = LOOKUP.sub(lambda found: f"@{names.get(found[1], found[1])}", item.expression)
    return item if expression == item.expression else rule(expression, item.note)
