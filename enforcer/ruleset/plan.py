"""From what the kernel has to what it should have: lower, decide about the epoch, diff."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from enforcer.model.net import Family, IPAddress
from enforcer.nft.declarations import sets_first
from enforcer.nft.diff import diff
from enforcer.nft.netlink import is_mark_in_use
from enforcer.nft.objects import Ruleset, TableId, rule
from enforcer.nft.portions import PORTION, in_portions
from enforcer.nft.transaction import DeleteTable, Transaction
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.epoch import (
    Epochs,
    FreeEpochs,
    current_epoch,
    latest_epoch,
    needs_bump,
    needs_second,
)
from enforcer.ruleset.lower import Lowering
from enforcer.ruleset.names import JUDGES, is_allow_set
from enforcer.ruleset.options import ExistingConnections, LowerOptions
from enforcer.ruleset.owners import knows_owners, orphaned_addresses, with_owners_of
from enforcer.ruleset.program import DENY
from enforcer.wiring import Wiring

MarkInUse = Callable[[int, int], bool]
_NEW: Final = 0
"""Stands for the epoch of a table that is not there yet, until it has one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The transactions to apply, in order, and the ruleset that they lead to.

    Between ``transactions`` and ``afterwards`` conntrack has to ``forget`` some addresses.
    """

    transactions: tuple[Transaction, ...]
    want: Ruleset
    epochs: Epochs
    forget: frozenset[IPAddress] = frozenset()
    afterwards: tuple[Transaction, ...] = ()


def plan(
    have: Ruleset,
    compiled: CompiledPolicy,
    wiring: Wiring,
    options: LowerOptions,
    mark_in_use: MarkInUse = is_mark_in_use,
) -> Plan:
    """Return how to bring the kernel from ``have`` to what ``compiled`` means."""
    return Planner(options, mark_in_use).plan(have, compiled, wiring)


class Planner:
    """Plans one change of a node after the other; remembers what the last one lowered."""

    def __init__(
        self,
        options: LowerOptions,
        mark_in_use: MarkInUse = is_mark_in_use,
        portion: int = PORTION,
    ) -> None:
        """``mark_in_use(mark, mask)`` says whether a conntrack entry carries a mark.

        ``portion`` is the greatest number of elements in one transaction that can wait.

        It is asked before a new epoch is used.
        """
        self._options = options
        self._free = {family: FreeEpochs(options, mark_in_use) for family in Family}
        self._lowering = Lowering(options)
        self._portion = portion

    def plan(self, have: Ruleset, compiled: CompiledPolicy, wiring: Wiring) -> Plan:
        """Return how to bring the kernel from ``have`` to what ``compiled`` means.

        An unchanged cluster gives a plan without transactions.
        """
        cleared = _without_chains(have)
        if cleared:
            have = Ruleset({id_: it for id_, it in have.tables.items() if id_ not in cleared})
        planned = self._planned(have, compiled, wiring)
        clear = (Transaction(tuple(map(DeleteTable, cleared)), "clear"),) if cleared else ()
        return replace(
            planned,
            transactions=(*clear, *sets_first(planned.transactions)),
            afterwards=sets_first(planned.afterwards),
        )

    def _planned(self, have: Ruleset, compiled: CompiledPolicy, wiring: Wiring) -> Plan:
        known = {family: current_epoch(have, family, self._options) for family in Family}
        epochs = {family: epoch or _NEW for family, epoch in known.items()}
        lowered = self._lowering.lower(compiled, wiring, epochs, have)
        due = [
            family
            for family, epoch in known.items()
            if epoch is None or self._revokes(have, lowered, family)
        ]
        twice = [family for family in due if _needs_second(have, lowered, family)]
        between = want = self._with_new(epochs, have, lowered, due, twice)
        for family in twice:
            epochs[family] = self._free[family].next(epochs[family])
            want = self._lowering.with_epoch(want, family, epochs[family])
        if orphaned := orphaned_addresses(have, want):
            middle = with_owners_of(have, want)
            return Plan(diff(have, middle), want, epochs, orphaned, diff(middle, want))
        first = self._transactions(have, between)
        return Plan((*first, *self._transactions(between, want)), want, epochs)

    def _with_new(
        self,
        epochs: dict[Family, int],
        have: Ruleset,
        lowered: Ruleset,
        due: Collection[Family],
        unsettled: Collection[Family],
    ) -> Ruleset:
        """Return a ruleset with new epochs of some families; note them in ``epochs``."""
        for family in due:
            latest = latest_epoch(have, family, self._options)
            epochs[family] = self._free[family].next(latest)
            settled = family not in unsettled
            lowered = self._lowering.with_epoch(lowered, family, epochs[family], settled=settled)
        return lowered

    def _transactions(self, have: Ruleset, want: Ruleset) -> tuple[Transaction, ...]:
        whole = diff(have, want)
        parts = in_portions(whole, is_allow_set, self._portion)
        if len(parts) == len(whole) or not have.tables.keys().isdisjoint(JUDGES.values()):
            return parts
        # While a first load is under way, allowed connections are denied too. Rejecting them would
        # end them; dropping lets them try again.
        silent = _silent(want)
        loaded = in_portions(diff(have, silent), is_allow_set, self._portion)
        return (*loaded, *diff(silent, want))

    def _revokes(self, have: Ruleset, want: Ruleset, family: Family) -> bool:
        old, new = have.tables[JUDGES[family]], want.tables[JUDGES[family]]
        # Who begins to keep connections cannot tell whose those are that were there before.
        keeps = self._options.existing is ExistingConnections.KEEP and knows_owners(old)
        return not keeps and needs_bump(old, new)


def _without_chains(have: Ruleset) -> list[TableId]:
    """Return the tables that judge nothing: a load made their sets, and broke off."""
    return [id_ for id_, it in have.tables.items() if not (it.chains or it.foreign)]


def _needs_second(have: Ruleset, want: Ruleset, family: Family) -> bool:
    return needs_second(have.tables.get(JUDGES[family]), want.tables[JUDGES[family]])


def _silent(want: Ruleset) -> Ruleset:
    """Return the same ruleset, but for what is denied: it is dropped."""
    tables = dict(want.tables)
    for id_ in JUDGES.values():
        chains = tables[id_].chains
        denies = replace(chains[DENY], rules=(rule("counter drop"),))
        tables[id_] = replace(tables[id_], chains={**chains, DENY: denies})
    return Ruleset(tables)
