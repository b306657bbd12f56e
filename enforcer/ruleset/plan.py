"""From what the kernel has to what it should have: lower, decide about the epoch, diff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from enforcer.model.net import IPAddress
from enforcer.nft.diff import diff
from enforcer.nft.netlink import is_mark_in_use
from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import Transaction
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.epoch import FreeEpochs, current_epoch, needs_bump
from enforcer.ruleset.lower import Lowering
from enforcer.ruleset.options import ExistingConnections, LowerOptions
from enforcer.ruleset.owners import orphaned_addresses, with_owners_of
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

    def __init__(self, options: LowerOptions, mark_in_use: MarkInUse = is_mark_in_use) -> None:
        """``mark_in_use(mark, mask)`` says whether a conntrack entry carries a mark.

        It is asked before a new epoch is used.
        """
        self._options = options
        self._epochs = FreeEpochs(options, mark_in_use)
        self._lowering = Lowering(options)

    def plan(self, have: Ruleset, compiled: CompiledPolicy, wiring: Wiring) -> Plan:
        """Return how to bring the kernel from ``have`` to what ``compiled`` means.

        An unchanged cluster gives a plan without transactions.
        """
        current = current_epoch(have, self._options)
        want = self._lowering.lower(compiled, wiring, current or 0, have)
        if current is None or self._revokes(have, want):
            current = self._epochs.next(current or 0)
            want = self._lowering.with_epoch(want, compiled, current)
        if orphaned := orphaned_addresses(have, want):
            middle = with_owners_of(have, want)
            return Plan(diff(have, middle), want, current, orphaned, diff(middle, want))
        return Plan(diff(have, want), want, current)

    def _revokes(self, have: Ruleset, want: Ruleset) -> bool:
        return self._options.existing is ExistingConnections.REVOKE and needs_bump(have, want)
