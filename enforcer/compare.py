"""``enforcer diff``: what a sync would change in this node's tables now, without changing it.

Only the tables that judge are compared, and the interfaces are taken as the kernel's
tables have them: reading how the pods are connected is part of a sync, which also sets bridges up.
"""

from __future__ import annotations

from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import Transaction
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.ruleset.names import FORMER, JUDGES
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.plan import plan
from enforcer.ruleset.room import POD_INTERFACES, named
from enforcer.wiring import Wiring

_COMPARED = (*JUDGES.values(), FORMER)


def compare(
    cluster: Cluster, node: str, options: LowerOptions, found: Ruleset
) -> tuple[Transaction, ...]:
    """Return the transactions that lead from what was found to what the cluster means."""
    have = Ruleset({id_: table for id_, table in found.tables.items() if id_ in _COMPARED})
    wiring = Wiring(
        _interfaces(have, POD_INTERFACES),
        forwarders=_interfaces(have, "forwarders"),
        fast=_fast_interfaces(have),
    )
    compiled = compile_node(cluster, node)
    # Which epoch a sync would choose depends on conntrack too; that there is a new one does not.
    return plan(have, compiled, wiring, options, lambda _mark, _mask: False).transactions


def _fast_interfaces(have: Ruleset) -> frozenset[str]:
    return frozenset(
        device
        for table in have.tables.values()
        for item in table.flowtables.values()
        for device in item.devices
    )


def _interfaces(have: Ruleset, name: str) -> frozenset[str]:
    sets = (named(table.sets, name) for table in have.tables.values())
    return frozenset(element.strip('"') for item in sets if item for element in item.elements)
