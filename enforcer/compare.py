"""``enforcer diff``: what a sync would change in this node's tables now, without changing it.

Only table ``inet npd`` is compared, and the interfaces are taken as the kernel's
table has them: reading how the pods are connected is part of a sync, which also sets bridges up.
"""

from __future__ import annotations

from enforcer.nft.objects import Ruleset
from enforcer.nft.transaction import Transaction
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.ruleset.names import INET
from enforcer.ruleset.options import LowerOptions
from enforcer.ruleset.plan import plan
from enforcer.ruleset.room import POD_INTERFACES, named
from enforcer.wiring import Wiring


def compare(
    cluster: Cluster, node: str, options: LowerOptions, found: Ruleset
) -> tuple[Transaction, ...]:
    """Return the transactions that lead from what was found to what the cluster means."""
    have = Ruleset({id_: table for id_, table in found.tables.items() if id_ == INET})
    wiring = Wiring(
        _interfaces(have, POD_INTERFACES),
        forwarders=_interfaces(have, "forwarders"),
        fast=_fast_interfaces(have),
    )
    compiled = compile_node(cluster, node)
    # Which epoch a sync would choose depends on conntrack too; that there is a new one does not.
    return plan(have, compiled, wiring, options, lambda _mark, _mask: False).transactions


def _fast_interfaces(have: Ruleset) -> frozenset[str]:
    flowtables = have.tables[INET].flowtables.values() if INET in have.tables else ()
    return frozenset(device for item in flowtables for device in item.devices)


def _interfaces(have: Ruleset, name: str) -> frozenset[str]:
    known = named(have.tables[INET].sets, name) if INET in have.tables else None
    return frozenset(element.strip('"') for element in known.elements) if known else frozenset()
