"""The bundled enforcer on IPv6, dual stack and several bridges: real packets decide."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import NodeRef, OutsideRef, Place, PodRef, Probe, Transport, Verdict
from harness.clusters.embedded.addresses import IpFamily
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Cni, Shape
from harness.enforcers import make_enforcer

pytestmark = pytest.mark.cluster

SHAPES: dict[str, dict[str, Any]] = {
    "ipv6-routed": {"ip_family": IpFamily.IPV6},
    "dual-bridges": {
        "ip_family": IpFamily.DUAL,
        "cni": Cni.BRIDGED,
        "bridges": 2,
        "mixed_netfilter": True,
    },
}
PODS = {"server": "node-1", "friend": "node-1", "stranger": "node-1", "afar": "node-2"}
ALLOWED = {"server", "friend"}
PORTS = [
    {"containerPort": 80},
    {"containerPort": 53, "protocol": "UDP"},
]
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "guard", "namespace": "default"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "server"}},
        "ingress": [
            {
                "from": [
                    {"podSelector": {"matchLabels": {"app": "friend"}}},
                    {"ipBlock": {"cidr": "2001:db8:14:215::/64"}},
                ]
            }
        ],
    },
}
NEAR, FAR = OutsideRef("2001:db8:14:215::7"), OutsideRef("2001:db8:14:216::7")


@dataclass(frozen=True)
class Guarded:
    """A cluster with the policy in force: what to probe, and what to expect of it."""

    cluster: EmbeddedCluster
    wanted: dict[Probe, Verdict]


@pytest.fixture(scope="module", params=list(SHAPES))
def guarded(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Guarded]:
    """Yield a cluster of each shape with the bundled enforcer and no policy yet."""
    shape = Shape(f"t{os.getpid()}-{request.param}", **SHAPES[request.param])
    enforcer = make_enforcer("bundled")
    with EmbeddedCluster(shape) as cluster:
        cluster.apply([*(pod(*item) for item in PODS.items()), SERVICE])
        cluster.wait_ready(timeout=180)
        enforcer.install(cluster, Path(tmp_path_factory.mktemp("logs")))
        try:
            enforcer.wait_ready()
            yield Guarded(cluster, expected(cluster))
        finally:
            enforcer.uninstall()


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "server", "namespace": "default"},
    "spec": {
        "ipFamilyPolicy": "PreferDualStack",
        "selector": {"app": "server"},
        "ports": [{"port": 80}],
    },
}


def pod(name: str, node: str) -> dict[str, Any]:
    """Return a pod with a TCP and a UDP server."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "nginx", "ports": PORTS}],
        },
    }


def expected(cluster: EmbeddedCluster) -> dict[Probe, Verdict]:
    """Return every probe to the server, and how it has to end under the policy."""
    path = "/api/v1/namespaces/default"
    listed = cluster.objects.get(f"{path}/pods/server")["status"]["podIPs"]
    addresses = [item["ip"] for item in listed]
    fronts = cluster.objects.get(f"{path}/services/server")["spec"]["clusterIPs"]
    own: list[tuple[Place, bool]] = [(NodeRef("node-1"), True), (NodeRef("node-2"), False)]
    pods = [(PodRef("default", name), name in ALLOWED) for name in PODS]
    wanted = {}
    for place, allowed in (*own, *pods):
        verdict = Verdict.OPEN if allowed else Verdict.DROPPED
        for address in addresses:
            wanted[Probe(place, address, 80)] = verdict
            wanted[Probe(place, address, 53, Transport.UDP)] = verdict
            wanted[Probe(place, address, 53, Transport.UDP_ONE_WAY)] = verdict
            wanted[Probe(place, address, 0, Transport.ICMP)] = verdict
        for address in fronts:
            wanted[Probe(place, address, 80)] = verdict
    for place, verdict in ((NEAR, Verdict.OPEN), (FAR, Verdict.DROPPED)):
        wanted |= {Probe(place, one, 80): verdict for one in addresses if ":" in one}
    return wanted


def test_new_and_held_connections_follow_a_policy(guarded: Guarded) -> None:
    """New connections and those from before end as the policy says, in every family."""
    cluster, wanted = guarded.cluster, guarded.wanted
    kept = [one for one in wanted if one.protocol != Transport.UDP_ONE_WAY]
    held = cluster.hold(kept, timeout=5.0)
    assert {one.outcome.verdict for one in held} == {Verdict.OPEN}

    cluster.apply([POLICY])
    deadline = time.monotonic() + 20
    seen: dict[Probe, Verdict] = {}
    while seen != wanted and time.monotonic() < deadline:
        outcomes = cluster.probe(list(wanted), timeout=0.5)
        seen = {probe: one.verdict for probe, one in zip(wanted, outcomes, strict=True)}
    asked = cluster.ask(held, timeout=2.0)
    cluster.release(held)

    assert seen == wanted
    assert {one.probe: answer.verdict for one, answer in zip(held, asked, strict=True)} == {
        probe: wanted[probe] for probe in kept
    }
