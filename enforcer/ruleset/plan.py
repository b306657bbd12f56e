"""From what the kernel has to what it should have: lower, decide about the epoch, diff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from enforcer.nft.diff import diff
from enforcer.nft.netlink import is_mark_in_use
from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import Transaction
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.epoch import current_epoch, needs_bump, next_epoch
from enforcer.ruleset.lower import lower, with_epoch
from enforcer.ruleset.options import ExistingConnections, LowerOptions
from enforcer.wiring import Wiring

MarkInUse = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """The transactions to apply, in order, and the ruleset that they lead to."""

    transactions: tuple[Transaction, ...]
    want: Ruleset
    epoch: int


def plan(
    have: Ruleset,
    compiled: CompiledPolicy,
    wiring: Wiring,
    options: LowerOptions,
    mark_in_use: MarkInUse = is_mark_in_use,
) -> Plan:
    """Return how to bring the kernel from ``have`` to what ``compiled`` means.

    ``mark_in_use(mark, mask)`` says whether a conntrack entry carries a mark; it is asked once
    for each new epoch. An unchanged cluster gives a plan without transactions.
    """
    current = current_epoch(have, options)
    want = lower(compiled, wiring, current or 0, options, have)
    if current is None or _revokes(have, want, options):
        epoch = next_epoch(current or 0, options, lambda mark: mark_in_use(mark, options.mark_mask))
        want = with_epoch(want, compiled, epoch, options)
        return Plan(diff(have, want), want, epoch)
    return Plan(diff(have, want), want, current)


def _revokes(have: Ruleset, want: Ruleset, options: LowerOptions) -> bool:
    return options.existing is ExistingConnections.REVOKE and needs_bump(have, want)
