"""What is read back from a real table explains what real packets do."""

from __future__ import annotations

import itertools
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from enforcer.compare import compare
from enforcer.explain import Live, explain
from enforcer.kube.dump import load_dump
from enforcer.nft.kernel import NftKernel
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.ruleset.names import IPV4, TABLES
from enforcer.status import status_of
from tests.kernel.netlab import OUTSIDE, Lab, Pod, Verdict

pytestmark = pytest.mark.kernel

INSIDE, BESIDE = "14.215.0.10", "14.216.0.10"
FROM_P1 = {"from": [{"podSelector": {"matchLabels": {"name": "p1"}}}], "ports": [{"port": 80}]}
FROM_BLOCK = {
    "from": [{"ipBlock": {"cidr": "14.215.0.0/16", "except": ["14.215.9.0/24"]}}],
    "ports": [{"port": 79, "endPort": 80}, {"port": 81, "protocol": "UDP"}],
}


def pod(item: Pod) -> dict[str, Any]:
    """Return a pod of the lab as the API shows it."""
    return {
        "kind": "Pod",
        "metadata": {"namespace": "ns", "name": item.name, "labels": {"name": item.name}},
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running", "podIPs": [{"ip": item.ip4}, {"ip": item.ip6}]},
    }


def cluster_of(lab: Lab, folder: Path) -> Cluster:
    """Return a cluster of the lab's pods; p2 admits p1 and a block, p3 sends to p2 alone."""
    node = {
        "kind": "Node",
        "metadata": {"name": "node"},
        "spec": {"podCIDRs": ["10.2.0.0/24", "fd00:2::/64"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.7.1"}]},
    }
    policies = {
        "in": {
            "podSelector": {"matchLabels": {"name": "p2"}},
            "ingress": [FROM_P1, FROM_BLOCK],
        },
        "out": {
            "podSelector": {"matchLabels": {"name": "p3"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"name": "p2"}}}]}],
        },
    }
    objects = [
        {"kind": "Namespace", "metadata": {"name": "ns"}},
        node,
        *map(pod, lab.pods),
        *(
            {"kind": "NetworkPolicy", "metadata": {"namespace": "ns", "name": name}, "spec": spec}
            for name, spec in policies.items()
        ),
    ]
    path = folder / "cluster.json"
    path.write_text(json.dumps(objects))
    return load_dump(path)


def read(lab: Lab) -> Live:
    """Read the node's tables back."""
    return Live("node", lab.node.call(NftKernel().read, TABLES))


def test_the_walk_says_what_packets_do(lab: Lab, tmp_path: Path) -> None:
    """Pods and hosts outside, both families, TCP and UDP: explained as it happens."""
    cluster = cluster_of(lab, tmp_path)
    lab.sync(compile_node(cluster, "node"))
    lab.serve(OUTSIDE, 80)
    live = read(lab)
    pods = [(pod.name, address, "") for pod in lab.pods for address in (pod.ip4, pod.ip6)]
    hosts = [(OUTSIDE, INSIDE, INSIDE), (OUTSIDE, BESIDE, BESIDE)]
    kinds = ((80, "tcp", socket.SOCK_STREAM), (81, "udp", socket.SOCK_DGRAM))

    for (place, source, bind), (_, server, _), (port, protocol, kind) in itertools.product(
        [*pods, *hosts], pods, kinds
    ):
        if (":" in source) != (":" in server):
            continue
        found = explain(cluster, source, f"[{server}]:{port}/{protocol}", live).answers[0]
        verdict = lab.probe(place, server, port, kind, bind)
        assert found.differences == ()
        assert found.passes == (verdict is Verdict.OPEN), (source, server, port, protocol)


def test_an_element_that_somebody_deleted_is_a_difference(lab: Lab, tmp_path: Path) -> None:
    """Shouted by explain, repaired by what diff shows."""
    cluster = cluster_of(lab, tmp_path)
    lab.sync(compile_node(cluster, "node"))
    assert compare(cluster, "node", lab.options, read(lab).tables) == ()
    name = next(name for name in read(lab).tables.tables[IPV4].sets if "peerport4" in name)
    element = f"{{ {lab.pods[0].ip4} . 6 . 80 }}"
    lab.node.run("nft", "delete", "element", "ip", "npd", name, element)

    found = explain(cluster, "ns/p1", "ns/p2:80", read(lab))
    changes = compare(cluster, "node", lab.options, read(lab).tables)

    differing = [answer.client.version for answer in found.answers if answer.differences]
    assert differing == [4]
    assert lab.probe("p1", lab.pods[1].ip4, 80) is Verdict.DROPPED
    for change in changes:
        lab.node.call(NftKernel().apply, change)
    assert lab.probe("p1", lab.pods[1].ip4, 80) is Verdict.OPEN


def test_status_reads_the_real_table(lab: Lab, tmp_path: Path) -> None:
    """Present, with the epoch that was planned and both addresses of each pod."""
    planned = lab.sync(compile_node(cluster_of(lab, tmp_path), "node"))

    found = status_of(read(lab).tables, None)

    assert found.tables[0].present
    assert (found.epochs, found.pods) == (planned.epochs, 6)
