"""The base on nodes whose pods share a Linux bridge that shows its frames to nobody.

New pods are wired so while the tests last; the cluster's own stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.clusters.base import Verdict
from harness.clusters.kind.network import BRIDGE, PodWiring
from tests.kind.deployed import (
    Place,
    Pod,
    applied,
    expect,
    install,
    pod_manifest,
    policy,
    running_pods,
    uninstall,
    verdict,
)

pytestmark = pytest.mark.kind

DENY_ALL = policy("deny-all", {"podSelector": {}, "policyTypes": ["Ingress"]})
CALLS = tuple(f"net.bridge.bridge-nf-call-{tables}" for tables in ("iptables", "ip6tables"))


@pytest.fixture(scope="module")
def bridged(lab: Place) -> Iterator[Place]:
    """Give the cluster with new pods on bridges, and bridge-nf off for all bridges."""
    before = {node: _calls(lab, node) for node in lab.node_names()}
    for node in before:
        lab.cluster.on_node(node, ["sysctl", "-qw", *(f"{name}=0" for name in CALLS)])
    lab.cluster.wire(PodWiring.BRIDGED)
    yield lab
    lab.cluster.wire(PodWiring.ROUTED)
    for node, values in before.items():
        settings = (f"{name}={value}" for name, value in zip(CALLS, values, strict=True))
        lab.cluster.on_node(node, ["sysctl", "-qw", *settings])
        lab.cluster.on_node(node, ["sh", "-c", f"ip link delete {BRIDGE} || true"])


@pytest.fixture(scope="module")
def pods(bridged: Place) -> Iterator[dict[str, Pod]]:
    """Give a server on a bridge, a neighbour on the same one, and a pod of the other node."""
    control_plane, worker = bridged.node_names()
    with applied(
        bridged,
        pod_manifest("server", worker, "server"),
        pod_manifest("neighbour", worker, "client"),
        pod_manifest("far", control_plane, "client"),
    ):
        found = running_pods(bridged.kubectl)
        bridged.agents.refresh()
        yield found


def test_neighbours_on_a_bridge_are_isolated(bridged: Place, pods: dict[str, Pod]) -> None:
    """Frames that no hook sees by themselves are shown to the rules, and the flags go back."""
    server, clients = pods["server"], (pods["neighbour"], pods["far"])
    with applied(bridged, DENY_ALL):
        found = [verdict(bridged, client, server) for client in clients]
        assert found == [Verdict.OPEN, Verdict.OPEN]  # nothing enforces yet
        install(bridged.kubectl)
        expect(bridged, server, dict.fromkeys(clients, Verdict.DROPPED))
        assert _flag(bridged, server.node) == "1"
    expect(bridged, server, dict.fromkeys(clients, Verdict.OPEN))
    assert _calls(bridged, server.node) == ["0", "0"]  # other bridges are left alone

    uninstall(bridged.kubectl)

    assert _flag(bridged, server.node) == "0"


def _calls(lab: Place, node: str) -> list[str]:
    """Return a node's sysctls for all bridges."""
    return lab.cluster.on_node(node, ["sysctl", "-n", *CALLS]).split()


def _flag(lab: Place, node: str) -> str:
    """Return the bridge's own flag."""
    words = lab.cluster.on_node(node, ["ip", "-d", "link", "show", BRIDGE]).split()
    return words[words.index("nf_call_iptables") + 1]
