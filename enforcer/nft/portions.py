"""Great loads in portions: no transaction has more elements than ``nft`` and netlink can take.

Elements that only allow may come late. So a transaction that is too great goes without them, and
they follow in transactions of their own: until the last of them, some traffic that will be allowed
is still denied, and none that will be denied is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from enforcer.nft.transaction import AddElements, DeleteTable, Transaction

PORTION: Final = 20_000
"""Elements in one transaction: some 30 MiB in an ``nft`` process, 2 MB in netlink messages."""

MayWait = Callable[[str], bool]
"""Whether adding an element to the set of this name can only allow more."""


def in_portions(
    transactions: Iterable[Transaction], may_wait: MayWait, portion: int = PORTION
) -> tuple[Transaction, ...]:
    """Return the same changes in transactions with at most ``portion`` elements that can wait.

    Where a table goes, all stays whole, however great: another one takes its place, and what the
    old rules let pass must not wait for the new ones.
    """
    whole = tuple(transactions)
    if any(isinstance(item, DeleteTable) for each in whole for item in each.commands):
        return whole
    return tuple(part for item in whole for part in _split(item, may_wait, portion))


def _split(transaction: Transaction, may_wait: MayWait, portion: int) -> Iterator[Transaction]:
    waiting = [
        item
        for item in transaction.commands
        if isinstance(item, AddElements) and may_wait(item.set)
    ]
    if sum(len(item.elements) for item in waiting) <= portion:
        yield transaction
        return
    late = {id(item) for item in waiting}
    rest = tuple(item for item in transaction.commands if id(item) not in late)
    if rest:
        yield replace(transaction, commands=rest)
    for commands in _portions(waiting, portion):
        yield Transaction(commands, f"{transaction.purpose}: elements")


def _portions(waiting: Iterable[AddElements], portion: int) -> Iterator[tuple[AddElements, ...]]:
    """Fill each portion to the brim, cutting sets where need be."""
    commands: list[AddElements] = []
    room = portion
    for item in waiting:
        start = 0
        while start < len(item.elements):
            some = item.elements[start : start + room]
            commands.append(replace(item, elements=some))
            start, room = start + len(some), room - len(some)
            if not room:
                yield tuple(commands)
                commands, room = [], portion
    if commands:
        yield tuple(commands)
