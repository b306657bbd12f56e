"""The enforcer of this repository, run as a program on each node and never imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import harness
from harness.clusters.base import Cluster, NodeRef, Right
from harness.enforcers.daemons import Command
from harness.enforcers.daemonset import DaemonSet, Readiness, environment
from harness.enforcers.nft_tables import NftTables
from harness.enforcers.node import Node
from harness.requirements import require_tools

TABLE = "npd"
"""The name of its nftables tables, in each family that it uses."""

_SOURCES = str(Path(harness.__file__).resolve().parents[1])
"""Where ``enforcer`` lies beside ``harness``: a checkout, or site-packages."""

RIGHTS = (
    Right(("pods", "namespaces", "nodes"), ("get", "list", "watch")),
    Right(("networkpolicies",), ("get", "list", "watch"), "networking.k8s.io"),
    Right(("events",), ("create", "patch")),
    Right(("events",), ("create", "patch"), "events.k8s.io"),
)
"""What its ServiceAccount may do: read what policies speak of, and tell of what it could not."""

_PROGRAM = (sys.executable, "-m", "enforcer")


class Bundled(DaemonSet):
    """``enforcer run`` on each node; ``flags`` are added to its command line."""

    name = "bundled"
    account = "npd-enforcer"

    def __init__(self, flags: Sequence[str] = ()) -> None:
        """Take the flags; nothing is started yet."""
        super().__init__()
        self.flags = tuple(flags)
        cleanup = ("env", f"PYTHONPATH={_SOURCES}", *_PROGRAM, "cleanup")
        self.rules = NftTables(TABLE, cleanup)

    def describe(self) -> Mapping[str, Any]:
        """Return the installed version, and the command line with the node left open."""
        return {
            "name": self.name,
            "version": _version(),
            "argv": ["enforcer", "run", "--node-name", "NODE", "--kubeconfig", "F", *self.flags],
        }

    def require(self) -> None:
        """Raise :class:`~harness.errors.MissingError` without ``nft``."""
        require_tools("nft")

    def inspect(self, node: Node) -> None:
        """Learn nothing: it comes with this harness."""

    def command(self, cluster: Cluster, node: str) -> Command:
        """Return ``enforcer run`` for a node."""
        kubeconfig = str(cluster.kubeconfig_of(self.account, RIGHTS))
        where = ("--node-name", node, "--kubeconfig", kubeconfig)
        argv = (*_PROGRAM, "run", *where, *self.port_flag(), *self.flags)
        return Command(argv, environment(NODE_NAME=node, PYTHONPATH=_SOURCES))

    def explain(self, cluster: Cluster, node: str, client: str, target: str) -> str:
        """Ask ``enforcer explain`` on a node: policy and rule, and whether the kernel agrees."""
        kubeconfig = str(cluster.kubeconfig_of(self.account, RIGHTS))
        where = ("--node-name", node, "--kubeconfig", kubeconfig)
        program = ("env", f"PYTHONPATH={_SOURCES}", *_PROGRAM, "explain", *where)
        done = cluster.exec(NodeRef(node), (*program, client, target))
        return done.stdout + done.stderr

    def readiness(self, node: Node, log: Path) -> Readiness:
        """Ask ``/readyz``: listed, in sync and proved."""
        del log
        return lambda: node.why_unhealthy(self.health_port, "/readyz")


def _version() -> str:
    try:
        return version("npd")
    except PackageNotFoundError:
        return "not installed: run from its sources"
