"""Connection tracking on and off, on the nodes that the measured path crosses: the ``bare`` arm.

A ``notrack`` rule before conntrack's own hook, in a table of ours. What keeps the node's proxy
(its NAT chains) stays hooked, so ``bare`` still pays for passing by them; but no entry is looked
up or made, and so no Service can be reached: which is how the arm is proved.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.clusters.base import Cluster, NodeRef
from harness.errors import ClusterError

TABLE = "ip harness_bare"

_CHAIN = "chain {table} {hook} {{ type filter hook {hook} priority raw; }}"
_HOOKS = ("prerouting", "output")


def stop(cluster: Cluster, nodes: Sequence[str]) -> None:
    """Track nothing on ``nodes``. Idempotent."""
    chains = (f"add {_CHAIN.format(table=TABLE, hook=hook)}" for hook in _HOOKS)
    rules = (f"add rule {TABLE} {hook} notrack" for hook in _HOOKS)
    _nft(cluster, nodes, "; ".join((_GONE, f"add table {TABLE}", *chains, *rules)))


def go_on(cluster: Cluster, nodes: Sequence[str]) -> None:
    """Undo :func:`stop`. Idempotent."""
    _nft(cluster, nodes, _GONE)


_GONE = f"add table {TABLE}; delete table {TABLE}"
"""Deletes the table whether it is there or not."""


def _nft(cluster: Cluster, nodes: Sequence[str], script: str) -> None:
    for node in nodes:
        done = cluster.exec(NodeRef(node), ("nft", script))
        if done.returncode:
            message = f"{node}: cannot switch connection tracking: {done.stderr.strip()}"
            raise ClusterError(message)
