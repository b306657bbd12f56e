"""The numbers by which the kernel knows our rules: asked for once, then told with each change.

A rule is replaced by its number, and the new one has another. Who replaces some asks for an echo of
what was made (``NLM_F_ECHO``), so that the next change need not read the chains again.
"""

from __future__ import annotations

from collections.abc import Sequence

from enforcer.nft.batch import FAMILIES
from enforcer.nft.netlink import Netfilter
from enforcer.nft.objects import TableId
from enforcer.nft.transaction import ReplaceRules, Transaction

Numbered = tuple[int, str]
"""A rule's handle and comment."""


class Handles:
    """What is known of the rules of some chains, in the generation in which we left them.

    Nothing of it is true any more once somebody else has changed a table: :meth:`forget` it then.
    """

    def __init__(self, netfilter: Netfilter) -> None:
        """Ask ``netfilter`` for what is not known."""
        self._netfilter = netfilter
        self._known: dict[tuple[TableId, str], Sequence[Numbered]] = {}

    def forget(self) -> None:
        """Believe nothing any more."""
        self._known.clear()

    def of(self, table: TableId, chain: str) -> Sequence[Numbered]:
        """Return handle and comment of each rule of a chain, in order."""
        key = table, chain
        if key not in self._known:
            family = FAMILIES[table.family]
            self._known[key] = self._netfilter.rules(family, table.name, chain)
        return self._known[key]

    def replaced(self, transaction: Transaction, made: Sequence[int]) -> None:
        """Take note of the rules that a transaction has made; ``made`` are their handles."""
        commands = [item for item in transaction.commands if isinstance(item, ReplaceRules)]
        if len(made) != sum(len(item.changes()) for item in commands):
            self.forget()  # the kernel has not told of all of them
            return
        left = iter(made)
        for command in commands:
            known = list(self.of(command.table, command.chain))
            for place, new in command.changes():
                known[place] = next(left), new.comment
            self._known[command.table, command.chain] = known
