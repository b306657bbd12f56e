"""A Node's ranges are believed until a pod of the cluster contradicts them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from enforcer.model.changes import Kind, Put, Removed
from enforcer.model.objects import Key, Node, Pod
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node

V4, V6 = ip_network("10.1.0.0/24"), ip_network("fd00:1::/64")
N1 = Node("n1", (), (V4, V6))
N2 = Node("n2", (), (ip_network("10.2.0.0/24"),))
INSIDE = Pod(Key("ns", "inside"), "n1", {}, (ip_address("10.1.0.5"), ip_address("fd00:1::5")))
BEYOND = Pod(Key("ns", "beyond"), "n2", {}, (ip_address("10.1.0.9"), ip_address("fd00:1::9")))


def networks(cluster: Cluster) -> set[object]:
    """Return the pod networks that n1 is to hold."""
    return set(compile_node(cluster, "n1").pod_networks)


def cluster_of(*objects: Pod | Node) -> Cluster:
    """Return a cluster that was told these, in this order."""
    cluster = Cluster()
    for item in objects:
        cluster.apply(Put(item))
    return cluster


def test_ranges_that_pods_keep_to_are_believed() -> None:
    """As those of most CNI plugins do; pods of the hosts' network and without an address too."""
    host = replace(BEYOND, key=Key("ns", "host"), host_network=True)
    waiting = replace(BEYOND, key=Key("ns", "waiting"), addresses=())

    assert networks(cluster_of(N1, N2, INSIDE, host, waiting)) == {V4, V6}


def test_one_pod_beyond_its_nodes_ranges_says_that_nobody_keeps_to_them() -> None:
    """Of its family, and on every node; whatever is told first."""
    for objects in ((N1, N2, INSIDE, BEYOND), (BEYOND, INSIDE, N2, N1)):
        assert networks(cluster_of(*objects)) == {V6}


def test_a_node_that_tells_no_range_is_contradicted_by_nobody() -> None:
    """Neither is one that is not known."""
    assert networks(cluster_of(N1, replace(N2, pod_networks=()), BEYOND)) == {V4, V6}
    assert networks(cluster_of(N1, BEYOND)) == {V4, V6}


def test_ranges_are_believed_again() -> None:
    """When the pod goes, gets another address, or its Node another range."""
    gone = cluster_of(N1, N2, BEYOND)
    gone.apply(Removed(Kind.PODS, BEYOND.key))
    moved = cluster_of(N1, N2, BEYOND, replace(BEYOND, addresses=(ip_address("10.2.0.9"),)))
    nameless = cluster_of(N1, N2, BEYOND)
    nameless.apply(Removed(Kind.NODES, Key("", "n2")))

    assert [networks(one) for one in (gone, moved, nameless)] == [{V4, V6}] * 3


def test_ranges_that_overlap_another_nodes_say_nothing() -> None:
    """Of one family and of these Nodes alone, whichever of the two is within the other's."""
    near, far = ip_network("10.1.0.128/25"), ip_network("10.9.0.0/24")
    for theirs in (ip_network("10.0.0.0/8"), V4, near):
        wide = replace(N2, pod_networks=(far, theirs))
        assert networks(cluster_of(N1, wide, replace(N2, name="n3"))) == {V6}
        assert networks(cluster_of(N1, wide, N2)) == {V4, V6}
        assert compile_node(cluster_of(N1, wide), "n2").pod_networks == ()

    gone = cluster_of(N1, replace(N1, name="n0"))
    assert networks(gone) == set()
    gone.apply(Removed(Kind.NODES, Key("", "n0")))
    assert networks(gone) == {V4, V6}
    assert networks(cluster_of(replace(N1, pod_networks=(V4, near)), N2)) == {V4, near}
