"""Names and addresses of nodes and pods."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import pairwise

import pytest

from harness.clusters.embedded.addresses import (
    FABRIC_NETWORK,
    POD_NETWORK,
    hardware_address,
    interface_name,
    namespace_of_pod,
    plan_nodes,
)


@pytest.mark.parametrize("pods", [1, 110, 240, 1023, 4000])
def test_a_pool_has_room_for_every_pod(pods: int) -> None:
    """A node has at least as many pod addresses as pods, none the network's, gateway's or last."""
    (node,) = plan_nodes(1, pods)
    addresses = node.pod_addresses

    assert len(set(addresses)) == len(addresses) >= pods
    assert all(address in node.pod_network for address in addresses)
    assert node.bridge_address not in addresses
    assert node.pod_network.broadcast_address not in addresses


@pytest.mark.parametrize(("count", "pods"), [(1000, 110), (1000, 1023)])
def test_nodes_do_not_overlap(count: int, pods: int) -> None:
    """A thousand nodes have distinct addresses and disjoint pod networks in the cluster CIDR."""
    nodes = plan_nodes(count, pods)

    assert len({node.address for node in nodes}) == count
    assert all(node.address in FABRIC_NETWORK for node in nodes)
    ends = [(node.pod_network[0], node.pod_network[-1]) for node in nodes]
    assert all(left[1] < right[0] for left, right in pairwise(ends))
    assert all(node.pod_network.subnet_of(POD_NETWORK) for node in nodes)


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
