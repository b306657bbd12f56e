"""The study's own manifest runs our image, changed only where no cluster takes it any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.clusters.base import Verdict
from harness.clusters.kind.network import FOLDER
from harness.enforcers.study_manifest import adapt
from harness.matrix.scenario import folder
from tests.kind.deployed import (
    ENFORCER_IMAGE,
    SYSTEM,
    WORKLOAD_IMAGE,
    Place,
    applied,
    expect,
    pod_manifest,
    policy,
    running_pods,
    sweep,
)

pytestmark = pytest.mark.kind

DENY_ALL = policy("npa", {"podSelector": {}, "policyTypes": ["Ingress"]})


@pytest.fixture
def deployed(lab: Place) -> Iterator[Place]:
    """Give the cluster with the study's DaemonSet, and the kubeconfig where it expects one."""
    text = (folder() / "study" / "kube-router-firewall-daemonset.yaml").read_text()
    adapted = adapt(text, ENFORCER_IMAGE, WORKLOAD_IMAGE)
    nodes = lab.node_names()
    admin = lab.cluster.on_node(nodes[0], ["cat", "/etc/kubernetes/admin.conf"])
    for node in nodes:
        script = f"mkdir -p /root/.kube && cat > /root/.kube/config <<'END'\n{admin}\nEND"
        lab.cluster.on_node(node, ["sh", "-c", script])
    lab.kubectl.apply(adapted.manifests)
    yield lab
    lab.kubectl.delete(adapted.manifests)
    lab.kubectl.run(
        *("-n", SYSTEM, "wait", "--for=delete", "pods", "--timeout=60s"),
        *("-l", "k8s-app=kube-router"),
    )
    sweep(lab.kubectl)
    for node in nodes:
        lab.cluster.on_node(
            node, ["rm", "-rf", f"{FOLDER}/10-kuberouter.conf", "/root/.kube/config"]
        )


def test_it_enforces(deployed: Place) -> None:
    """Its flags, kubeconfig, init container and probe work; a policy holds on and between nodes."""
    control_plane, worker = deployed.node_names()
    deployed.kubectl.rollout(SYSTEM, "daemonset/kube-router")
    with applied(
        deployed,
        pod_manifest("server", worker, "server"),
        pod_manifest("near", worker, "client"),
        pod_manifest("far", control_plane, "client"),
    ):
        pods = running_pods(deployed.kubectl)
        deployed.agents.refresh()
        clients = (pods["near"], pods["far"])
        expect(deployed, pods["server"], dict.fromkeys(clients, Verdict.OPEN))
        with applied(deployed, DENY_ALL):
            expect(deployed, pods["server"], dict.fromkeys(clients, Verdict.DROPPED))
    files = deployed.cluster.on_node(worker, ["ls", FOLDER]).split()
    assert files == ["05-npd.conflist", "10-kuberouter.conf"]
    assert _restarts(deployed) == [0, 0]


def _restarts(lab: Place) -> list[int]:
    """Return how often each daemon was restarted: its liveness probe never failed."""
    found = lab.kubectl.get("pods", "-n", SYSTEM, "-l", "k8s-app=kube-router")["items"]
    return [pod["status"]["containerStatuses"][0]["restartCount"] for pod in found]
