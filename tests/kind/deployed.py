"""A real cluster to deploy on, the probes in it, and our manifests as people apply them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness import __version__
from harness.clusters.base import Manifest, Verdict
from harness.clusters.kind.provider import KindNodes
from harness.clusters.kube.agents import Agents
from harness.clusters.kube.kubectl import Kubectl
from harness.images.recipes import RECIPES, ROOT
from harness.prober.protocol import Attempt

ENFORCER_IMAGE, WORKLOAD_IMAGE = (
    f"{RECIPES[name].tag}:{__version__}-amd64" for name in ("enforcer", "workload")
)
BASE = ROOT / "enforcer" / "deploy" / "base"
CLEANUP = ROOT / "enforcer" / "deploy" / "cleanup"
SYSTEM = "kube-system"
NAMESPACE = "npd-kind"
SECRET = "swordfish"
"""What the tests' pods are told in their environment and in an annotation."""
PATIENCE = 90.0
"""Seconds; a condition that does not come true within is a failure."""


@dataclass(frozen=True, slots=True)
class House:
    """A cluster with our images on its nodes, and a namespace for the tests' pods."""

    cluster: KindNodes

    @property
    def kubectl(self) -> Kubectl:
        """Return the cluster's kubectl."""
        return self.cluster.kubectl

    def node_names(self) -> tuple[str, str]:
        """Return the control plane's name and the worker's."""
        control_plane, worker = self.cluster.nodes()
        return control_plane.name, worker.name


@dataclass(frozen=True, slots=True)
class Place(House):
    """A cluster, and the way into its pods."""

    agents: Agents


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs: what the prober calls it, and where it is."""

    name: str
    uid: str
    node: str
    address: str


def pod_manifest(name: str, node: str, role: str) -> Manifest:
    """Return a pod with nginx on port 80, placed by hand."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"role": role},
            "annotations": {"told": SECRET},
        },
        "spec": {
            "nodeName": node,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "nginx",
                    "image": WORKLOAD_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "ports": [{"containerPort": 80}],
                    "env": [{"name": "PASSWORD", "value": SECRET}],
                }
            ],
        },
    }


@contextlib.contextmanager
def namespace(kubectl: Kubectl, name: str) -> Iterator[None]:
    """Have a new namespace of this name while the context lasts.

    It takes its controller five seconds and more to remove one, so nobody waits for that but who
    makes it again.
    """
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    kubectl.delete([made])
    kubectl.apply([made])
    try:
        yield
    finally:
        kubectl.delete([made], wait=False)


def policy(name: str, spec: Mapping[str, Any]) -> Manifest:
    """Return a NetworkPolicy in the tests' namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": dict(spec),
    }


@contextlib.contextmanager
def applied(lab: House, *manifests: Manifest) -> Iterator[None]:
    """Have objects in the cluster while the context lasts."""
    lab.kubectl.apply(manifests)
    try:
        yield
    finally:
        lab.kubectl.delete(manifests)


def running_pods(kubectl: Kubectl) -> dict[str, Pod]:
    """Return the tests' pods by name, once all of them are ready."""
    kubectl.run("-n", NAMESPACE, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=90s")
    items = kubectl.get("pods", "-n", NAMESPACE)["items"]
    found = (
        Pod(
            item["metadata"]["name"],
            item["metadata"]["uid"],
            item["spec"]["nodeName"],
            item["status"]["podIP"],
        )
        for item in items
    )
    return {pod.name: pod for pod in found}


def verdict(lab: Place, client: Pod, server: Pod, timeout: float = 0.5) -> Verdict:
    """Try one connection with real packets."""
    attempt = Attempt(client.uid, None, server.address, 80)
    (outcome,) = lab.agents.prober(client.node).probe([attempt], timeout)
    return outcome.verdict


def expect(lab: Place, server: Pod, wanted: Mapping[Pod, Verdict]) -> None:
    """Return once each client's connection ends as wanted; fail where it does not."""
    for client, end in wanted.items():
        wait_until(f"{client.name} -> {server.name}: {end.value}", _ends, lab, client, server, end)


def _ends(lab: Place, client: Pod, server: Pod, end: Verdict) -> bool:
    return verdict(lab, client, server) is end


def wait_until(what: str, condition: Callable[..., bool], *arguments: object) -> None:
    """Return once the condition holds; fail, and say what was waited for, where it does not."""
    deadline = time.monotonic() + PATIENCE
    while not condition(*arguments):
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.1)


def rendered(kubectl: Kubectl, folder: Path) -> list[Manifest]:
    """Return what a kustomization says."""
    return [item for item in yaml.safe_load_all(kubectl.run("kustomize", str(folder))) if item]


def install(kubectl: Kubectl) -> None:
    """Install the enforcer as docs/operate.md says, and return when it is ready on every node."""
    kubectl.run("apply", "-k", str(BASE))
    kubectl.rollout(SYSTEM, "daemonset/npd-enforcer")


def uninstall(kubectl: Kubectl) -> None:
    """Uninstall it as docs/operate.md says."""
    kubectl.run("delete", "--ignore-not-found", "-k", str(BASE))
    kubectl.run(
        *("-n", SYSTEM, "wait", "--for=delete", "pods", "--timeout=60s"),
        *("-l", "app.kubernetes.io/name=npd-enforcer"),
    )
    sweep(kubectl)


def sweep(kubectl: Kubectl) -> None:
    """Take the tables off every node."""
    kubectl.run("apply", "-k", str(CLEANUP))
    kubectl.rollout(SYSTEM, "daemonset/npd-cleanup")
    kubectl.run("delete", "-k", str(CLEANUP))


_TRACES = """
nft -s list ruleset | grep -v '^#' | sort
ip -d link | sed 's/[0-9]*: //' | sort
ip route show table all | sort
sysctl -a 2>/dev/null | grep -E 'send_redirects|bridge|rp_filter|ip_forward|forwarding'
grep -E 'npd' /proc/net/unix || true
ls /etc/cni/net.d /run/npd* 2>/dev/null || true
"""


def traces(lab: House, node: str) -> str:
    """Return what an enforcer could change of a node, in an order that does not depend on time."""
    return lab.cluster.on_node(node, ["sh", "-c", _TRACES])


def all_traces(lab: House) -> dict[str, str]:
    """Return them for every node."""
    return {name: traces(lab, name) for name in lab.node_names()}


def settle(lab: House) -> None:
    """Return once the cluster's own pods are served on every node, and nobody changes anything."""
    selected = ("-n", SYSTEM, "-l", "k8s-app=kube-dns")
    lab.kubectl.run("wait", "--for=condition=Ready", "pods", *selected, "--timeout=180s")
    addresses = [item["status"]["podIP"] for item in lab.kubectl.get("pods", *selected)["items"]]
    wait_until("kube-proxy knows the cluster's own pods", _is_settled, lab, addresses)


def _is_settled(lab: House, addresses: Sequence[str]) -> bool:
    found = all_traces(lab)
    known = all(address in text for text in found.values() for address in addresses)
    return known and found == all_traces(lab)
