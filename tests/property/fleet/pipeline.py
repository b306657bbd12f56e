"""The enforcer's own way from changes to the kernel, in a node's namespace, without an API server.

Everything but transport and the loop is the real thing: decoding, the cluster, compiling,
lowering, the epoch, the difference, nft.
"""

from __future__ import annotations

import json

from enforcer.kube.decode import decode_object
from enforcer.links import NodeLinks
from enforcer.model.changes import Change, Kind, Object, Put, Removed, Replaced, Unreadable
from enforcer.nft.kernel import NftKernel
from enforcer.node import NodeTables, Synced
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import NodeCompiler
from enforcer.ruleset.names import TABLES
from enforcer.ruleset.options import LowerOptions
from tests.kernel.netlab import Namespace
from tests.property.drawn import Json
from tests.property.fleet.states import Objects

DELETE = "".join(f"add table {table}\ndelete table {table}\n" for table in TABLES)


class Enforced:
    """A node that follows what it is told."""

    def __init__(self, name: str, space: Namespace, options: LowerOptions) -> None:
        """Enforce for the Node ``name`` in its namespace."""
        self._space = space
        self._cluster = Cluster()
        self._compiler = NodeCompiler(self._cluster, name)
        self._links = space.call(NodeLinks)
        self._tables = NodeTables(NftKernel(), options, self._links)

    def tell(self, changes: list[Change]) -> Synced:
        """Take changes, as a batch of the daemon's inbox, and bring them into the kernel."""
        for change in changes:
            self._cluster.apply(change)
        return self._space.call(self._sync)

    def _sync(self) -> Synced:
        return self._tables.sync(self._compiler.compile())

    def stop(self) -> None:
        """Look at the links no more; the rules stay."""
        self._links.close()

    def end(self) -> None:
        """Stop, and delete the tables."""
        self.stop()
        self._space.run("nft", "-f", "-", text=DELETE)


def told_anew(objects: Objects) -> list[Change]:
    """Return a list of each kind."""
    return [
        Replaced(
            kind, tuple(decoded(one, item) for (one, _), item in objects.items() if one is kind)
        )
        for kind in Kind
    ]


def difference(before: Objects, after: Objects) -> list[Change]:
    """Return what watches tell between two states: what is gone first, then what is new."""
    gone: list[Change] = [Removed(*where) for where in before if where not in after]
    new: list[Change] = [
        Put(decoded(where[0], item)) for where, item in after.items() if before.get(where) != item
    ]
    return gone + new


def decoded(kind: Kind, item: Json) -> Object:
    """Decode an object that can be understood."""
    found = decode_object(kind, json.dumps(item).encode())
    assert not isinstance(found, Unreadable)
    return found
