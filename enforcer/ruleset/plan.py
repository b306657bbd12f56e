"""From what the kernel has to what it should have: lower, decide about the epoch, diff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from enforcer.model.net import IPAddress
from enforcer.nft.diff import diff
from enforcer.nft.netlink import is_mark_in_use
from enforcer.nft.objects import Ruleset, rule
from enforcer.nft.portions import PORTION, in_portions
from enforcer.nft.transaction import Transaction
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.epoch import FreeEpochs, current_epoch, latest_epoch, needs_bump
from enforcer.ruleset.lower import Lowering
from enforcer.ruleset.names import JUDGES, is_allow_set
from enforcer.ruleset.options import ExistingConnections, LowerOptions
from enforcer.ruleset.owners import orphaned_addresses, with_owners_of
from enforcer.ruleset.program import DENY
from enforcer.wiring import Wiring

MarkInUse = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """The transactions to apply, in order, and the ruleset that they lead to.

    Between ``transactions`` and ``afterwards`` conntrack has to ``forget`` some addresses.
    """

    transactions: tuple[Transaction, ...]
    want: Ruleset
    epoch: int
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
        self._epochs = FreeEpochs(options, mark_in_use)
        self._lowering = Lowering(options)
        self._portion = portion

    def plan(self, have: Ruleset, compiled: CompiledPolicy, wiring: Wiring) -> Plan:
        """Return how to bring the kernel from ``have`` to what ``compiled`` means.

        An unchanged cluster gives a plan without transactions.
        """
        current = current_epoch(have, self._options)
        want = self._lowering.lower(compiled, wiring, current or 0, have)
        if current is None or self._revokes(have, want):
            current = self._epochs.next(latest_epoch(have, self._options))
            want = self._lowering.with_epoch(want, compiled, current)
        if orphaned := orphaned_addresses(have, want):
            middle = with_owners_of(have, want)
            return Plan(diff(have, middle), want, current, orphaned, diff(middle, want))
        return Plan(self._transactions(have, want), want, current)

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

    def _revokes(self, have: Ruleset, want: Ruleset) -> bool:
        return self._options.existing is ExistingConnections.REVOKE and needs_bump(have, want)


def _silent(want: Ruleset) -> Ruleset:
    """Return the same ruleset, but for what is denied: it is dropped."""
    tables = dict(want.tables)
    for id_ in JUDGES.values():
        chains = tables[id_].chains
        denies = replace(chains[DENY], rules=(rule("counter drop"),))
        tables[id_] = replace(tables[id_], chains={**chains, DENY: denies})
    return Ruleset(tables)
