"""The enforcer of this repository as people deploy it: its image, by its own manifests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster
from harness.clusters.kube.cluster import KubeCluster
from harness.enforcers import health
from harness.enforcers.bundled import TABLE
from harness.enforcers.daemons import Command
from harness.enforcers.daemonset import HEALTH_PORT, DaemonSet, Readiness
from harness.enforcers.deployment import DEPLOY, Deployment
from harness.enforcers.nft_tables import NftTables
from harness.enforcers.node import Node
from harness.enforcers.pods import DaemonPods
from harness.errors import EnforcerFailed, UsageError
from harness.images.recipes import ROOT

CHANGES = ("no liveness probe: the kubelet would start a daemon again that is stopped on purpose",)
"""What is not as in the base, and why."""


class Deployed(DaemonSet):
    """The kustomize base on a real cluster, uninstalled at the end as its manual says."""

    name = "bundled"

    def __init__(self) -> None:
        """Prepare; nothing is applied yet."""
        super().__init__()
        self.rules = NftTables(TABLE, ("true",))  # the image's own cleanup does it, on all nodes
        self._plan: Deployment | None = None
        self._deployed: DaemonPods | None = None

    def describe(self) -> Mapping[str, Any]:
        """Return image and manifests, and how they were changed."""
        base = str(DEPLOY.relative_to(ROOT) / "base")
        return {
            "name": self.name,
            "image": self._plan.image if self._plan else "",
            "manifests": base,
            "changes": list(CHANGES),
        }

    def require(self) -> None:
        """Need nothing of this machine: the cluster has been given the image."""

    def inspect(self, node: Node) -> None:
        """Learn nothing: it comes with this harness."""

    def command(self, cluster: Cluster, node: str) -> Command:
        """Refuse: the manifests say what runs."""
        raise EnforcerFailed(f"{self.name} runs as a pod on {node} of {cluster.name}")

    def fleet(self, cluster: Cluster, logs: Path, nodes: tuple[str, ...]) -> DaemonPods:
        """Return the DaemonSet's pods."""
        if not isinstance(cluster, KubeCluster):
            raise UsageError(f"there is nothing to deploy on, on a cluster that is {cluster.kind}")
        self._plan = Deployment(cluster.images.enforcer, nodes)
        manifests = self._plan.base(cluster.kubectl)
        (daemons,) = (one for one in manifests if one["kind"] == "DaemonSet")
        (container,) = daemons["spec"]["template"]["spec"]["containers"]
        del container["livenessProbe"]
        self._deployed = DaemonPods(cluster, logs, manifests, nodes)
        return self._deployed

    def readiness(self, node: Node, log: Path) -> Readiness:
        """Ask ``/readyz``: listed, in sync and proved."""
        del log
        script = Path(health.__file__).read_text(encoding="utf-8")
        program = ("python3", "-I", "-S", "-c", script, str(HEALTH_PORT), "/readyz", "0.5")

        def question() -> str:
            done = node.try_run(*program)
            return "" if done.returncode == 0 else done.stdout + done.stderr

        return question

    def uninstall(self) -> None:
        """Delete it, and have ``enforcer cleanup`` run on each node. Idempotent."""
        pods, self._deployed = self._deployed, None
        if pods is None or self._plan is None:
            return
        pods.stop()
        self._plan.sweep(pods.kubectl)
        super().uninstall()
        pods.withdraw()

    def explain(self, cluster: Cluster, node: str, client: str, target: str) -> str:
        """Ask ``enforcer explain`` in a node's pod: policy and rule, and the kernel's word."""
        del cluster
        pods = self._deployed
        if pods is None:
            return ""
        into = ("-n", pods.namespace, "exec", pods.pod(node), "--")
        words = ("enforcer", "explain", "--node-name", node, client, target)
        done = pods.kubectl.attempt(*into, *words)
        return done.stdout + done.stderr
