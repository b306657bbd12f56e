"""What it takes to deploy the enforcer on a real cluster, and to take away what it leaves on nodes.

The tables of an enforcer outlive its pods, as they should; so who deploys it notes on the cluster
itself where it was put, and of which image: as an annotation of its ServiceAccount, which comes
first and goes last. Whoever finds the note can finish what a killed run began.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.clusters.base import Manifest, Right
from harness.clusters.kube.kubectl import Kubectl, selecting
from harness.clusters.kube.owned import SELECTOR, labelled
from harness.clusters.kube.placing import only_on
from harness.images.recipes import ROOT

DEPLOY = ROOT / "enforcer" / "deploy"
NOTE = "npd.dev/deployed"

_DAEMON_SET = "DaemonSet"
_LOOK = ("get", "list", "watch")
FOR_SWEEPING = (
    Right(("daemonsets",), (*_LOOK, "create", "patch", "delete"), "apps"),
    Right(("pods",), _LOOK),
)
"""What it takes to have tables taken off nodes."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """An enforcer of ours on a cluster: its image, and the nodes that it was put on."""

    image: str
    nodes: tuple[str, ...]

    def base(self, kubectl: Kubectl) -> list[Manifest]:
        """Return what is applied: the kustomize base, on these nodes, with the note of it."""
        made = self._fitted(kubectl, DEPLOY / "base")
        (account,) = (one for one in made if one["kind"] == "ServiceAccount")
        account["metadata"]["annotations"] = {NOTE: json.dumps(asdict(self))}
        return made

    def sweep(self, kubectl: Kubectl) -> None:
        """Take the tables off these nodes, as the manual says; ClusterError where it fails.

        No daemon may run there any more.
        """
        manifests = labelled(self._fitted(kubectl, DEPLOY / "cleanup"))
        (daemons,) = (one["metadata"] for one in manifests if one["kind"] == _DAEMON_SET)
        kubectl.apply(manifests)
        try:
            kubectl.rollout(daemons["namespace"], f"daemonset/{daemons['name']}")
        finally:
            kubectl.delete(manifests)

    def finish(self, kubectl: Kubectl) -> None:
        """End what a killed run left: the daemons, then their tables. The note stays."""
        (daemons,) = (one for one in self.base(kubectl) if one["kind"] == _DAEMON_SET)
        kubectl.delete([daemons])
        labels = daemons["spec"]["selector"]["matchLabels"]
        kubectl.wait_gone(*selecting(daemons["metadata"]["namespace"], labels))
        self.sweep(kubectl)

    def _fitted(self, kubectl: Kubectl, folder: Path) -> list[Manifest]:
        """Return a kustomization with this image, on these nodes."""
        made = [copy.deepcopy(one) for one in _read(kubectl, folder)]
        for one in made:
            if one["kind"] == _DAEMON_SET:
                pod: dict[str, Any] = one["spec"]["template"]["spec"]
                pod["affinity"] = only_on(self.nodes)
                for container in (*pod.get("initContainers", ()), *pod["containers"]):
                    container["image"] = self.image
        return made


def find_deployment(kubectl: Kubectl) -> Deployment | None:
    """Return what the note of a run of ours says; None where there is none."""
    done = kubectl.attempt("get", "serviceaccounts", "-A", "-l", SELECTOR, "-o", "json")
    for account in json.loads(done.stdout)["items"] if done.returncode == 0 else ():
        note = (account["metadata"].get("annotations") or {}).get(NOTE)
        if note:
            told = json.loads(note)
            return Deployment(told["image"], tuple(told["nodes"]))
    return None


def _read(kubectl: Kubectl, folder: Path) -> Iterator[Manifest]:
    text = kubectl.run("kustomize", str(folder))
    yield from (one for one in yaml.safe_load_all(text) if one)
