"""Pods as cases need them: with servers of every kind, finished, held, with somebody's address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from harness.clusters.base import (
    NodeRef,
    OutsideRef,
    PodAnnotation,
    PodRef,
    Probe,
    Transport,
    Verdict,
)
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.settings import Cni, Shape
from harness.errors import ClusterError

pytestmark = pytest.mark.cluster

CLIENT = PodRef("default", "client")


@pytest.fixture(scope="module")
def cluster(kit: Any) -> Iterator[EmbeddedCluster]:
    """Yield a cluster of two nodes with two bridges each, and a client on the first."""
    shape = Shape(f"t{os.getpid()}-wishes", cni=Cni.BRIDGED, bridges=2)
    with EmbeddedCluster(shape) as made:
        made.apply([kit.pod("client", "node-1")])
        made.wait_ready(timeout=180)
        yield made


def make(cluster: EmbeddedCluster, manifest: dict[str, Any], **annotations: str) -> PodRef:
    """Apply a pod with annotations, named by their enum's members."""
    given = {PodAnnotation[key.upper()]: value for key, value in annotations.items()}
    manifest["metadata"]["annotations"] = given
    cluster.apply([manifest])
    return PodRef("default", manifest["metadata"]["name"])


def verdict(cluster: EmbeddedCluster, address: str, port: int, protocol: str = "TCP") -> Verdict:
    """Probe from the client."""
    (outcome,) = cluster.probe([Probe(CLIENT, address, port, protocol)], timeout=1.0)
    return outcome.verdict


def names(cluster: EmbeddedCluster) -> set[str]:
    """Return the names of all pods."""
    pods = cluster.objects.get("/api/v1/namespaces/default/pods")["items"]
    return {pod["metadata"]["name"] for pod in pods}


def phase(cluster: EmbeddedCluster, kit: Any, pod: str) -> str:
    """Return a pod's phase."""
    found: str = kit.live(cluster, "pods", pod)["status"]["phase"]
    return found


@pytest.mark.parametrize("image", ["nginx", "example.org/anything:1"])
def test_every_container_port_has_a_server(cluster: EmbeddedCluster, kit: Any, image: str) -> None:
    """Each containerPort is served by its protocol, beside nginx and with any other image."""
    ports = [
        {"name": "http", "containerPort": 80},
        {"name": "dns-tcp", "containerPort": 5353},
        {"name": "dns", "containerPort": 5353, "protocol": "UDP"},
    ]
    name = "served-" + image.partition(".")[0]
    probe = {"httpGet": {"port": "http"}, "periodSeconds": 1}
    container = {"name": "main", "image": image, "ports": ports, "readinessProbe": probe}
    cluster.apply([kit.pod(name, "node-2", containers=[container])])
    cluster.wait_ready(timeout=180)
    address = kit.address(cluster, name)

    seen = {
        (port, protocol): verdict(cluster, address, port, protocol)
        for port in (80, 5353, 5354)
        for protocol in (Transport.TCP, Transport.UDP, Transport.UDP_ONE_WAY)
    }

    served = {(80, "TCP"), (5353, "TCP"), (5353, "UDP"), (5353, "UDP-one-way")}
    assert {key for key, one in seen.items() if one is Verdict.OPEN} == served
    assert {one for key, one in seen.items() if key not in served} == {Verdict.RESET}


def test_servers_of_a_node_and_outside(cluster: EmbeddedCluster) -> None:
    """An echo server can be had on a node and on a host outside."""
    node, outside = cluster.nodes()[1], OutsideRef("203.0.113.9")
    cluster.serve(NodeRef(node.name), 7777, Transport.UDP)
    cluster.serve(outside, 7777)

    assert verdict(cluster, node.address, 7777, Transport.UDP) is Verdict.OPEN
    assert verdict(cluster, outside.address, 7777) is Verdict.OPEN
    with pytest.raises(ClusterError, match="in use"):
        cluster.serve(OutsideRef("0.0.0.0"), 7777)  # the outside host's own namespace


@pytest.mark.parametrize(("code", "expected"), [("0", "Succeeded"), ("3", "Failed")])
def test_a_finished_pod_keeps_its_address_in_the_api_alone(
    cluster: EmbeddedCluster, kit: Any, code: str, expected: str
) -> None:
    """A pod told to end is Succeeded or Failed, nobody answers, and its podIP stays written."""
    name = f"ends-{code}"
    pod = make(cluster, kit.pod(name, "node-2"))
    cluster.wait_ready(timeout=180)
    address = kit.address(cluster, name)
    before = verdict(cluster, address, 80)

    cluster.annotate(pod, {PodAnnotation.EXIT: code})
    kit.until(lambda: phase(cluster, kit, name) == expected)
    kit.until(lambda: verdict(cluster, address, 80) is not Verdict.OPEN)

    assert before is Verdict.OPEN
    assert kit.address(cluster, name) == address


def test_an_address_is_used_again(cluster: EmbeddedCluster, kit: Any) -> None:
    """A finished pod's address goes to the next one that asks for it; a taken one to nobody."""
    first = make(cluster, kit.pod("first", "node-2"), exit="0")
    kit.until(lambda: phase(cluster, kit, "first") == "Succeeded")
    address = kit.address(cluster, "first")
    make(cluster, kit.pod("second", "node-2"), address=address)
    cluster.wait_ready(timeout=180)
    make(cluster, kit.pod("third", "node-2"), address=address)
    kit.until(lambda: phase(cluster, kit, "third") == "Failed")

    assert kit.address(cluster, "second") == kit.address(cluster, first.name)
    assert verdict(cluster, address, 80) is Verdict.OPEN
    assert address in kit.live(cluster, "pods", "third")["status"]["message"]
    cluster.delete([kit.pod("third")])


def test_an_address_is_waited_for(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod deleted without grace is gone from the API at once; its address goes on a bit later."""
    address = ""
    for number in range(10):
        heir = kit.pod(f"heir-{number}", "node-1")
        heir["spec"]["terminationGracePeriodSeconds"] = 0
        name = make(cluster, heir, **({"address": address} if address else {})).name
        cluster.wait_ready(timeout=180)
        address = address or kit.address(cluster, name)
        assert kit.address(cluster, name) == address
        cluster.delete([heir])


def test_a_pod_can_be_kept_without_an_address(cluster: EmbeddedCluster, kit: Any) -> None:
    """A held pod is Pending on its node, nobody waits for it, and it starts when let go."""
    pod = make(cluster, kit.pod("held", "node-2"), hold="network")
    cluster.wait_ready(timeout=180)
    before = kit.live(cluster, "pods", "held")
    cluster.annotate(pod, {PodAnnotation.HOLD: None})
    kit.until(lambda: phase(cluster, kit, "held") == "Running")

    assert (before["status"]["phase"], before["status"].get("podIP")) == ("Pending", None)
    assert before["spec"]["nodeName"] == "node-2"
    assert verdict(cluster, kit.address(cluster, "held"), 80) is Verdict.OPEN


def test_a_pod_can_be_up_before_anybody_knows(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod whose status is held sends and answers, while the API has no address of it."""
    make(cluster, kit.pod("secret", "node-2"), hold="status", address="10.128.2.77")
    secret = PodRef("default", "secret")
    kit.until(lambda: verdict(cluster, "10.128.2.77", 80) is Verdict.OPEN)
    target = Probe(secret, kit.address(cluster, "client"), 80)
    (outcome,) = cluster.probe([target], timeout=1.0)
    before = kit.live(cluster, "pods", "secret")["status"]
    cluster.annotate(secret, {PodAnnotation.HOLD: None})
    cluster.wait_ready(timeout=180)

    assert outcome.verdict is Verdict.OPEN
    assert (before["phase"], before.get("podIP")) == ("Pending", None)
    assert kit.address(cluster, "secret") == "10.128.2.77"


def test_a_held_pod_can_be_deleted(cluster: EmbeddedCluster, kit: Any) -> None:
    """Deleting a pod that is held leaves nothing of it."""
    for hold in ("network", "status"):
        manifest = kit.pod(f"gone-{hold}", "node-2")
        make(cluster, manifest, hold=hold)
        cluster.delete([manifest])

    assert kit.until(lambda: not {"gone-network", "gone-status"} & names(cluster))


def test_a_pod_can_choose_its_bridge(cluster: EmbeddedCluster, kit: Any) -> None:
    """Pods asked onto one bridge are there, whoever came before."""
    for name in ("x1", "x2", "x3"):
        make(cluster, kit.pod(name, "node-2"), bridge="1")
    cluster.wait_ready(timeout=180)
    argv = ("ip", "link", "show", "master", "kube-bridge1")
    ports = cluster.exec(NodeRef("node-2"), argv).stdout

    assert all(f"default/{name}" in ports for name in ("x1", "x2", "x3"))


def test_made_again_under_its_name(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod deleted and made again at once has another address, and servers again."""
    ports = [{"name": "echo", "containerPort": 7, "protocol": "UDP"}]
    container = {"name": "main", "image": "x", "ports": ports}
    manifest = kit.pod("again", "node-2", containers=[container])
    cluster.apply([manifest])
    cluster.wait_ready(timeout=180)
    old = kit.live(cluster, "pods", "again")
    cluster.delete([manifest])
    kit.until(lambda: "again" not in names(cluster))
    cluster.apply([manifest])
    cluster.wait_ready(timeout=180)
    address = kit.address(cluster, "again")

    assert address != old["status"]["podIP"]
    assert verdict(cluster, address, 7, Transport.UDP) is Verdict.OPEN


def test_host_network(cluster: EmbeddedCluster, kit: Any) -> None:
    """A pod of its node's network has the node's addresses, and serves there."""
    ports = [{"name": "echo", "containerPort": 7070, "protocol": "UDP"}]
    container = {"name": "main", "image": "x", "ports": ports}
    cluster.apply([kit.pod("host", "node-2", hostNetwork=True, containers=[container])])
    cluster.wait_ready(timeout=180)
    node = cluster.nodes()[1]

    assert kit.address(cluster, "host") == node.address
    assert verdict(cluster, node.address, 7070, Transport.UDP) is Verdict.OPEN


def test_a_wish_without_meaning_is_said(cluster: EmbeddedCluster, kit: Any) -> None:
    """An annotation whose value means nothing fails its pod with a sentence."""
    make(cluster, kit.pod("typo", "node-2"), hold="forever")
    kit.until(lambda: phase(cluster, kit, "typo") == "Failed")

    assert "'forever'" in kit.live(cluster, "pods", "typo")["status"]["message"]
