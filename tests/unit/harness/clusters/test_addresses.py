"""Names and addresses of nodes and pods."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import combinations, pairwise

import pytest

from harness.clusters.embedded.addresses import (
    FABRIC_NETWORK,
    POD_NETWORK,
    POD_NETWORK6,
    IpFamily,
    hardware_address,
    interface_name,
    link_local,
    namespace_of_pod,
    plan_nodes,
)


@pytest.mark.parametrize("pods", [1, 110, 240, 1023, 4000])
def test_a_pool_has_room_for_every_pod(pods: int) -> None:
    """A node has at least as many pod addresses as pods, none the network's, gateway's or last."""
    (node,) = plan_nodes(1, pods)
    addresses = [host.address for host in node.segments[0].pods]

    assert len(set(addresses)) == len(addresses) >= pods
    assert all(address in node.pod_network for address in addresses)
    assert node.segments[0].gateway.address not in addresses
    assert node.pod_network.broadcast_address not in addresses


@pytest.mark.parametrize(("pods", "bridges"), [(110, 2), (110, 3), (1023, 4), (4, 8)])
def test_bridges_share_a_node_s_networks(pods: int, bridges: int) -> None:
    """Every bridge has a part of its own of each pod network, with its share of the pods."""
    (node,) = plan_nodes(1, pods, IpFamily.DUAL, bridges)

    assert len(node.segments) == bridges
    assert sum(len(list(segment.pods)) for segment in node.segments) >= pods
    for segment in node.segments:
        for part, whole in zip(segment.networks, node.pod_networks, strict=True):
            assert part.subnet_of(whole)  # type: ignore[arg-type]
            assert all(any(one in part for one in host.addresses) for host in segment.pods)
    for one, other in combinations(node.segments, 2):
        assert not one.network4.overlaps(other.network4)
        assert not one.network6.overlaps(other.network6)


def test_families() -> None:
    """IPv4 comes first in a dual cluster, and one of IPv6 has nothing else."""
    dual, six = plan_nodes(1, 10, IpFamily.DUAL) + plan_nodes(1, 10, IpFamily.IPV6)

    assert [network.version for network in dual.pod_networks] == [4, 6]
    assert [address.version for address in dual.host.addresses] == [4, 6]
    assert [network.version for network in six.pod_networks] == [6]
    assert next(dual.segments[0].pods).hardware == next(six.segments[0].pods).hardware


@pytest.mark.parametrize(("count", "pods"), [(1000, 110), (1000, 1023)])
def test_nodes_do_not_overlap(count: int, pods: int) -> None:
    """A thousand nodes have distinct addresses and disjoint pod networks in the cluster CIDR."""
    nodes = plan_nodes(count, pods)

    assert len({node.address for node in nodes}) == count
    assert all(node.address in FABRIC_NETWORK for node in nodes)
    ends = [(int(node.pod_network[0]), int(node.pod_network[-1])) for node in nodes]
    assert all(left[1] < right[0] for left, right in pairwise(ends))
    assert all(node.segments[0].network4.subnet_of(POD_NETWORK) for node in nodes)
    assert all(node.segments[0].network6.subnet_of(POD_NETWORK6) for node in nodes)


def test_nodes_sort_by_name() -> None:
    """The order of names is the order of nodes."""
    names = [node.name for node in plan_nodes(12, 10)]

    assert names == sorted(names)
    assert names[0] == "node-01"


def test_names_fit_the_kernel() -> None:
    """Interface names have at most 15 characters, namespace names are files' names."""
    long = "x" * 253

    assert len(interface_name(f"{long}/{long}")) <= 15
    assert len(namespace_of_pod("n" * 63, long)) <= 255
    assert namespace_of_pod("n" * 63, long) != namespace_of_pod("n" * 63, long[:-1] + "y")


def test_hardware_addresses_follow_from_addresses() -> None:
    """An address gives a locally administered unicast hardware address, always the same."""
    hardware = hardware_address(IPv4Address("10.128.1.2"))

    assert hardware.hex(":") == "0a:58:0a:80:01:02"


def test_link_local_addresses_follow_from_hardware_addresses() -> None:
    """An interface's own address is the one that RFC 4291 derives."""
    assert link_local(bytes.fromhex("0a58a9fe0101")) == IPv6Address("fe80::858:a9ff:fefe:101")
