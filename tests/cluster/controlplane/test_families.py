"""A real control plane and the real kube-proxy with IPv6, alone and beside IPv4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.clusters.base import NodeRef, OutsideRef, Place, PodRef, Probe, Verdict
from harness.clusters.embedded.addresses import IpFamily
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Proxy

pytestmark = [pytest.mark.cluster, pytest.mark.optional("@control-plane")]

KINDS = {
    "dual": (IpFamily.DUAL, Proxy.KUBE_PROXY_NFTABLES),
    "ipv6": (IpFamily.IPV6, Proxy.KUBE_PROXY_NFTABLES),
}
OUTSIDE = OutsideRef("2001:db8:14:215::10")


@pytest.fixture(scope="module", params=list(KINDS))
def cluster(request: pytest.FixtureRequest, shaped: Any) -> Iterator[EmbeddedCluster]:
    """Yield a cluster of each family with a server on each node and a Service before both."""
    family, proxy = KINDS[request.param]
    servers = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "nginx"}]},
        }
        for name, node in (("s1", "node-1"), ("s2", "node-2"))
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "NodePort",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {"app": "web"},
            "ports": [{"port": 80}],
        },
    }
    shape = shaped(f"family-{request.param}", proxy=proxy, ip_family=family)
    with EmbeddedCluster(shape) as made:
        made.apply([*servers, service])
        made.wait_ready(timeout=90)
        yield made


def test_every_way_is_open(cluster: EmbeddedCluster) -> None:
    """Pods, ClusterIPs and NodePorts of every family are reached from pods, nodes and outside."""
    path = "/api/v1/namespaces/default"
    spec = cluster.objects.get(f"{path}/services/web")["spec"]
    pods = [cluster.objects.get(f"{path}/pods/{name}")["status"] for name in ("s1", "s2")]
    inside: list[Place] = [PodRef("default", "s1"), NodeRef("node-2")]
    targets = [(item["ip"], 80) for pod in pods for item in pod["podIPs"]]
    fronts = [(address, 80) for address in spec["clusterIPs"]]
    doors = [(one, spec["ports"][0]["nodePort"]) for n in cluster.nodes() for one in n.addresses]
    probes = [Probe(place, *to) for place in inside for to in (*targets, *fronts, *doors)]
    probes += [Probe(OUTSIDE, *to) for to in (*targets, *doors) if ":" in to[0]]

    outcomes = cluster.probe(probes, timeout=5.0)

    wanted = len(IpFamily(cluster.describe()["ip_family"]).versions)
    assert len(fronts) == wanted
    wrong = [(p, o) for p, o in zip(probes, outcomes, strict=True) if o.verdict is not Verdict.OPEN]
    assert wrong == []
