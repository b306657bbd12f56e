"""IPv6, dual stack and several bridges: where packets go without any enforcer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest

from harness.clusters.base import NodeRef, OutsideRef, Place, PodRef, Probe, Transport, Verdict
from harness.clusters.embedded.addresses import IpFamily
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Cni, Shape

pytestmark = pytest.mark.cluster

SHAPES: dict[str, dict[str, Any]] = {
    "dual-routed": {"ip_family": IpFamily.DUAL},
    "ipv6-bridged": {"ip_family": IpFamily.IPV6, "cni": Cni.BRIDGED},
    "dual-bridges": {
        "ip_family": IpFamily.DUAL,
        "cni": Cni.BRIDGED,
        "bridges": 2,
        "mixed_netfilter": True,
    },
}
PODS = {"a1": "node-1", "a2": "node-1", "a3": "node-1", "b1": "node-2"}
PROBED = [
    {
        "name": "main",
        "image": "nginx",
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
    }
]
"""Ready only once the kubelet's own probe has come back, in the pod's primary family."""

OUTSIDE = (OutsideRef("14.215.0.10"), OutsideRef("2001:db8:14:215::10"))


@pytest.fixture(scope="module", params=list(SHAPES))
def cluster(request: pytest.FixtureRequest, kit: Any) -> Iterator[EmbeddedCluster]:
    """Yield a cluster of each shape with four nginx pods and a dual Service of each."""
    shape = Shape(f"t{os.getpid()}-{request.param}", **SHAPES[request.param])
    wanted = {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack"}
    with EmbeddedCluster(shape) as made:
        made.apply(
            [
                *(kit.pod(name, node, containers=PROBED) for name, node in PODS.items()),
                *(kit.service(name, {"app": name}, **wanted) for name in PODS),
            ]
        )
        made.wait_ready(timeout=180)
        yield made


def addresses(cluster: EmbeddedCluster, kit: Any, pod: str) -> list[str]:
    """Return every address of a pod."""
    return [item["ip"] for item in kit.live(cluster, "pods", pod)["status"]["podIPs"]]


def versions(cluster: EmbeddedCluster) -> Sequence[int]:
    """Return the versions of IP that a cluster has."""
    return IpFamily(cluster.describe()["ip_family"]).versions


def outside(cluster: EmbeddedCluster) -> list[OutsideRef]:
    """Return hosts outside, one for each family."""
    return [one for one in OUTSIDE if (6 if ":" in one.address else 4) in versions(cluster)]


def goes(source: Place, address: str) -> bool:
    """Whether a place has an address of this family to send from."""
    return not isinstance(source, OutsideRef) or (":" in source.address) == (":" in address)


def not_open(cluster: EmbeddedCluster, probes: list[Probe]) -> list[object]:
    """Probe and return what was not open."""
    outcomes = cluster.probe(probes, timeout=3.0)
    assert probes
    return [
        (one, outcome)
        for one, outcome in zip(probes, outcomes, strict=True)
        if outcome.verdict is not Verdict.OPEN
    ]


def everywhere(cluster: EmbeddedCluster) -> list[Place]:
    """Return pods on both nodes, the nodes, and hosts outside."""
    pods: list[Place] = [PodRef("default", name) for name in PODS]
    return [*pods, *(NodeRef(node.name) for node in cluster.nodes()), *outside(cluster)]


def test_objects_say_every_address(cluster: EmbeddedCluster, kit: Any) -> None:
    """Pods, nodes and Services have an address of each family, the primary one first."""
    wanted = list(versions(cluster))
    node = cluster.objects.get("/api/v1/nodes/node-1")
    pod = kit.live(cluster, "pods", "a1")["status"]
    service = kit.live(cluster, "services", "a1")["spec"]
    own = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
    families = [
        addresses(cluster, kit, "a1"),
        [one["ip"] for one in pod["hostIPs"]],
        own,
        node["spec"]["podCIDRs"],
        service["clusterIPs"],
    ]

    assert [[6 if ":" in one else 4 for one in each] for each in families] == [wanted] * 5
    assert (pod["podIP"], node["spec"]["podCIDR"]) == (families[0][0], families[3][0])
    assert cluster.nodes()[0].addresses == tuple(own)


def test_every_way_is_open(cluster: EmbeddedCluster, kit: Any) -> None:
    """Pods, nodes and the outside reach every pod over TCP and ICMP, and the outside host."""
    targets = [one for name in PODS for one in addresses(cluster, kit, name)]
    probes = [
        Probe(source, address, 80, protocol)
        for source, address in product(everywhere(cluster), targets)
        for protocol in (Transport.TCP, Transport.ICMP)
        if goes(source, address)
    ]
    probes += [
        Probe(source, one.address, 80)
        for source, one in product(everywhere(cluster), outside(cluster))
        if not isinstance(source, OutsideRef)
    ]

    assert not_open(cluster, probes) == []


def test_services_work_in_every_family(cluster: EmbeddedCluster, kit: Any) -> None:
    """ClusterIPs and NodePorts lead to the pods of their family, one's own included."""
    probes = []
    for name in PODS:
        spec = kit.live(cluster, "services", name)["spec"]
        port = spec["ports"][0]["nodePort"]
        for source in everywhere(cluster):
            nodes = [one for node in cluster.nodes() for one in node.addresses]
            probes += [Probe(source, one, port) for one in nodes if goes(source, one)]
            if not isinstance(source, OutsideRef):
                probes += [Probe(source, one, 80) for one in spec["clusterIPs"]]

    assert not_open(cluster, probes) == []


def test_pods_are_seen_with_their_own_address(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod sees a pod's address, and a client's outside, in whatever family they speak."""
    for own, target in zip(
        addresses(cluster, kit, "a1"), addresses(cluster, kit, "b1"), strict=True
    ):
        url = f"[{target}]" if ":" in target else target
        assert kit.fetch(cluster, "a1", url) == f"b1 to {own}"
        for one in outside(cluster):
            if goes(one, target):
                said = kit.fetch(cluster, one, url, "--interface", one.address)
                assert said == f"b1 to {one.address}"


def test_neighbours_are_permanent(cluster: EmbeddedCluster, kit: Any) -> None:
    """No neighbour entry can be collected, of either family, also after asking for nobody."""
    nobody = [*addresses(cluster, kit, "a1")]
    nobody = [f"{one.rpartition(':')[0]}:fff0" if ":" in one else "10.128.1.253" for one in nobody]
    cluster.probe([Probe(PodRef("default", "a1"), one, 80) for one in nobody], timeout=0.3)

    for place in everywhere(cluster):
        entries = json.loads(cluster.exec(place, ("ip", "-j", "neigh")).stdout)
        fleeting = [entry for entry in entries if entry["state"] != ["PERMANENT"]]
        assert fleeting == [], place


def test_every_error_from_outside_arrives(cluster: EmbeddedCluster) -> None:
    """Of many packets at once to where nobody is, each is told so, over IPv6, too."""
    nowhere = [Probe(PodRef("default", "a1"), "2001:db8:ffff::1", port) for port in range(1, 31)]

    causes = {outcome.cause for outcome in cluster.probe(nowhere, timeout=2.0)}

    assert causes == {"icmpv6-no-route"}


def test_pods_take_turns_on_bridges(cluster: EmbeddedCluster) -> None:
    """Each bridge has ports, and the netfilter flag that was asked for; a routed node has none."""
    shape = cluster.describe()
    links = json.loads(cluster.exec(NodeRef("node-1"), ("ip", "-d", "-j", "link")).stdout)
    bridges = {
        link["ifname"]: link["linkinfo"]["info_data"]
        for link in links
        if link.get("linkinfo", {}).get("info_kind") == "bridge"
    }
    ports = {link["master"] for link in links if "master" in link}

    assert ports == set(bridges)
    watched = {name: data["nf_call_iptables"] for name, data in bridges.items()}
    mixed = {"kube-bridge": 1, "kube-bridge1": 0}
    bridged = mixed if shape["mixed_netfilter"] else {"kube-bridge": 0}
    assert watched == (bridged if shape["cni"] == "bridged" else {})
