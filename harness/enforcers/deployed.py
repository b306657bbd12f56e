"""The enforcer of this repository as people deploy it: its image, by its own manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.clusters.base import Cluster, Manifest
from harness.clusters.kube.cluster import KubeCluster
from harness.clusters.kube.kubectl import Kubectl
from harness.enforcers import health
from harness.enforcers.bundled import TABLE
from harness.enforcers.daemons import Command
from harness.enforcers.daemonset import HEALTH_PORT, DaemonSet, Readiness
from harness.enforcers.nft_tables import NftTables
from harness.enforcers.node import Node
from harness.enforcers.pods import DaemonPods
from harness.errors import EnforcerFailed, UsageError
from harness.images.recipes import ROOT

DEPLOY = ROOT / "enforcer" / "deploy"
CHANGES = ("no liveness probe: the kubelet would start a daemon again that is stopped on purpose",)
"""What is not as in the base, and why."""

_CLEANUP = "npd-cleanup"


class Deployed(DaemonSet):
    """The kustomize base on a real cluster, uninstalled at the end as its manual says."""

    name = "bundled"

    def __init__(self) -> None:
        """Prepare; nothing is applied yet."""
        super().__init__()
        self.rules = NftTables(TABLE, ("true",))  # the image's own cleanup does it, on all nodes
        self._image = ""
        self._deployed: DaemonPods | None = None

    def describe(self) -> Mapping[str, Any]:
        """Return image and manifests, and how they were changed."""
        base = str(DEPLOY.relative_to(ROOT) / "base")
        return {
            "name": self.name,
            "image": self._image,
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
        manifests = list(_read(cluster.kubectl, DEPLOY / "base"))
        (daemons,) = (one for one in manifests if one["kind"] == "DaemonSet")
        (container,) = daemons["spec"]["template"]["spec"]["containers"]
        del container["livenessProbe"]
        self._image = container["image"]
        if set(nodes) != {node.name for node in cluster.nodes()}:
            daemons["spec"]["template"]["spec"]["affinity"] = _only_on(nodes)
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
        if pods is None:
            return
        pods.stop()
        sweep(pods.cluster, pods.kubectl)
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


def sweep(cluster: Cluster, kubectl: Kubectl) -> None:
    """Take the enforcer's tables off every node, as its manual says."""
    manifests = list(_read(kubectl, DEPLOY / "cleanup"))
    (daemons,) = (one for one in manifests if one["kind"] == "DaemonSet")
    cluster.apply(manifests)
    try:
        kubectl.rollout(daemons["metadata"]["namespace"], f"daemonset/{_CLEANUP}")
    finally:
        cluster.delete(manifests)


def _read(kubectl: Kubectl, folder: Path) -> Iterator[Manifest]:
    text = kubectl.run("kustomize", str(folder))
    yield from (one for one in yaml.safe_load_all(text) if one)


def _only_on(nodes: Sequence[str]) -> dict[str, Any]:
    named = {"key": "metadata.name", "operator": "In", "values": list(nodes)}
    terms = {"nodeSelectorTerms": [{"matchFields": [named]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
