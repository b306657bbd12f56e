"""The model as an enforcer of the harness: one daemon a node, its rules in iptables and ipset."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import harness
from harness.clusters.base import Cluster, Right
from harness.enforcers.base import State
from harness.enforcers.daemons import Command
from harness.enforcers.daemonset import DaemonSet, Readiness, environment
from harness.enforcers.kube_router import IptablesRules, unsynced_since
from harness.enforcers.node import Node
from harness.requirements import require_tools

NAME = "kube-router-0.2-model"
IPTABLES = ("iptables", "iptables-legacy", "iptables-nft")
"""The commands that it may load its rules by; the first is whatever the machine calls iptables."""

_READ = ("get", "list", "watch")
RIGHTS = (
    Right(("namespaces", "pods"), _READ),
    Right(("networkpolicies",), _READ, "networking.k8s.io"),
)
_PROGRAM = (sys.executable, "-m", "harness.enforcers.kube_router_model")
_SOURCES = str(Path(harness.__file__).resolve().parents[1])


class KubeRouterModel(DaemonSet):
    """The model of kube-router 0.2.0's rule layout; it rejects what it denies."""

    name = NAME
    quiet: ClassVar[frozenset[State]] = frozenset({State.ABSENT})

    def __init__(self, iptables: str = IPTABLES[0]) -> None:
        """Take the command for its rules, one of :data:`IPTABLES`; nothing is started yet."""
        super().__init__()
        self.iptables = iptables
        self.rules: IptablesRules = IptablesRules(iptables)
        self._version = "unknown: not started yet"

    def describe(self) -> Mapping[str, Any]:
        """Return what it is, and the iptables that it uses: its version from install on."""
        return {
            "name": self.name,
            "version": "a model of the rule layout, not kube-router",
            "iptables": self.iptables,
            "iptables_version": self._version,
        }

    def require(self) -> None:
        """Raise :class:`~harness.errors.MissingError` without iptables or ipset."""
        require_tools(self.iptables, "ipset")

    def inspect(self, node: Node) -> None:
        """Ask iptables which one it is."""
        self._version = node.run(self.iptables, "--version").strip()

    def command(self, cluster: Cluster, node: str) -> Command:
        """Return the daemon's command line; ``NODE_NAME`` says which node it is on."""
        kubeconfig = str(cluster.kubeconfig_of(self.name, RIGHTS))
        flags = ("--kubeconfig", kubeconfig, "--iptables", self.iptables, *self.port_flag())
        argv = (*_PROGRAM, *flags)
        return Command(argv, environment(NODE_NAME=node, PYTHONPATH=_SOURCES))

    def readiness(self, node: Node, log: Path) -> Readiness:
        """Wait for the end of a sync that began after now."""
        seen = unsynced_since(log)
        return lambda: seen() or node.why_unhealthy(self.health_port, "/healthz")
