"""ClusterIPs and NodePorts are given once, kept, and given back."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from harness.clusters.embedded.apiserver.allocate import ServiceAllocator
from harness.clusters.embedded.apiserver.errors import ApiError


def service(kind: str = "ClusterIP", **spec: Any) -> dict[str, Any]:
    """Return a service as it is after defaults."""
    ports = spec.pop("ports", [{"port": 80, "protocol": "TCP"}])
    return {"spec": {"type": kind, "ports": ports} | spec}


def fields(allocator: ServiceAllocator, wanted: dict[str, Any]) -> list[str]:
    """Return the fields of a service that conflict."""
    return [cause.field for cause in allocator.conflicts(wanted)]


def test_every_service_gets_an_address_of_its_own() -> None:
    """Addresses come from the range, its first and last left out, until none is left."""
    allocator = ServiceAllocator(IPv4Network("10.96.0.0/30"))
    first, second, third = service(), service(), service()
    allocator.assign(first)
    allocator.assign(second)

    assert [first["spec"]["clusterIP"], second["spec"]["clusterIPs"]] == [
        "10.96.0.1",
        ["10.96.0.2"],
    ]
    with pytest.raises(ApiError, match=r"every ClusterIP in 10\.96\.0\.0/30 is taken"):
        allocator.assign(third)


def test_a_released_address_can_be_given_again() -> None:
    """A deleted service leaves nothing behind."""
    allocator = ServiceAllocator(IPv4Network("10.96.0.0/30"))
    old, other, new = service(), service(), service()
    allocator.assign(old)
    allocator.assign(other)

    allocator.release(old)
    allocator.assign(new)

    assert new["spec"]["clusterIP"] == old["spec"]["clusterIP"]


def test_a_headless_or_external_service_gets_no_address() -> None:
    """``None`` is a wish, and an external name has no backends here."""
    allocator = ServiceAllocator()
    headless, external = service(clusterIP="None"), service("ExternalName")
    allocator.assign(headless)
    allocator.assign(external)

    assert headless["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in external["spec"]


@pytest.mark.parametrize("address", ["10.97.0.1", "10.96.0.0", "10.96.255.255", "nonsense", "::1"])
def test_an_address_outside_of_the_range_conflicts(address: str) -> None:
    """An explicit address must be one that the range has."""
    assert fields(ServiceAllocator(), service(clusterIP=address)) == ["spec.clusterIP"]


def test_explicit_values_that_are_taken_conflict_all_at_once() -> None:
    """Both the address and the port are named."""
    allocator = ServiceAllocator()
    first = service(
        "NodePort",
        clusterIP="10.96.0.9",
        ports=[{"port": 80, "protocol": "TCP", "nodePort": 30080}],
    )
    assert fields(allocator, first) == []
    allocator.assign(first)

    assert fields(allocator, first) == ["spec.clusterIP", "spec.ports[0].nodePort"]


@pytest.mark.parametrize(("kind", "port"), [("NodePort", 29999), ("NodePort", 32768)])
def test_a_node_port_outside_of_the_range_conflicts(kind: str, port: int) -> None:
    """NodePorts are 30000 to 32767."""
    wanted = service(kind, ports=[{"port": 80, "protocol": "TCP", "nodePort": port}])

    assert fields(ServiceAllocator(), wanted) == ["spec.ports[0].nodePort"]


def test_an_update_keeps_what_it_does_not_mention() -> None:
    """Address and NodePort survive a replace with the original manifest."""
    allocator = ServiceAllocator()
    old = service("NodePort")
    allocator.assign(old)
    new = service("NodePort")
    allocator.inherit(new, old)

    assert list(allocator.conflicts(new, old)) == []
    assert new["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    assert new["spec"]["ports"] == old["spec"]["ports"]


def test_the_address_of_a_service_cannot_be_changed() -> None:
    """Clients may hold on to a ClusterIP as long as the service lives."""
    allocator = ServiceAllocator()
    old = service()
    allocator.assign(old)

    causes = list(allocator.conflicts(service(clusterIP="10.96.7.7"), old))

    assert [cause.field for cause in causes] == ["spec.clusterIP"]


def test_a_service_that_is_no_longer_a_node_port_gives_its_ports_back() -> None:
    """The port is free for others at once."""
    allocator = ServiceAllocator()
    old = service("NodePort")
    allocator.assign(old)
    new = service("ClusterIP", ports=[dict(old["spec"]["ports"][0])])
    allocator.inherit(new, old)
    assert list(allocator.conflicts(new, old)) == []
    allocator.assign(new, old)
    node_port = old["spec"]["ports"][0]["nodePort"]
    other = service("NodePort", ports=[{"port": 1, "protocol": "TCP", "nodePort": node_port}])

    assert "nodePort" not in new["spec"]["ports"][0]
    assert fields(allocator, other) == []


DUAL = (IPv4Network("10.96.0.0/16"), IPv6Network("fd00:10:96::/112"))
BOTH = ["10.96.0.1", "fd00:10:96::1"]


@pytest.mark.parametrize(
    ("ranges", "asked", "policy", "addresses"),
    [
        (DUAL, {}, "SingleStack", BOTH[:1]),
        (DUAL, {"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", BOTH),
        (DUAL, {"ipFamilyPolicy": "RequireDualStack"}, "RequireDualStack", BOTH),
        (DUAL, {"ipFamilies": ["IPv6"]}, "SingleStack", BOTH[1:]),
        (DUAL, {"ipFamilies": ["IPv6", "IPv4"]}, "RequireDualStack", BOTH[::-1]),
        (DUAL, {"clusterIP": "fd00:10:96::1"}, "SingleStack", BOTH[1:]),
        (DUAL[:1], {"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", BOTH[:1]),
        (DUAL[1:], {}, "SingleStack", BOTH[1:]),
    ],
)
def test_families(
    ranges: tuple[Any, ...], asked: dict[str, Any], policy: str, addresses: list[str]
) -> None:
    """A Service gets an address of each family that it asks for and its cluster has."""
    allocator, wanted = ServiceAllocator(*ranges), service(**asked)
    assert fields(allocator, wanted) == []
    allocator.assign(wanted)
    spec = wanted["spec"]

    assert (spec["ipFamilyPolicy"], spec["clusterIPs"]) == (policy, addresses)
    assert spec["clusterIP"] == addresses[0]
    assert spec["ipFamilies"] == ["IPv6" if ":" in one else "IPv4" for one in addresses]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, "spec.ipFamilyPolicy"),
        ({"ipFamilies": ["IPv6"]}, "spec.ipFamilies[0]"),
        ({"clusterIP": "fd00:10:96::1"}, "spec.clusterIP"),
    ],
)
def test_a_family_that_the_cluster_has_not_is_refused(asked: dict[str, Any], field: str) -> None:
    """A cluster of IPv4 alone says which field it cannot serve."""
    assert fields(ServiceAllocator(*DUAL[:1]), service(**asked)) == [field]


def test_a_service_takes_and_leaves_the_second_family() -> None:
    """A Service that changes its policy gets a second address, and gives it back."""
    allocator, one = ServiceAllocator(*DUAL), service()
    allocator.assign(one)
    two = service(ipFamilyPolicy="PreferDualStack")
    allocator.inherit(two, one)
    allocator.assign(two, one)
    three = service(ipFamilyPolicy="SingleStack")
    allocator.inherit(three, two)
    allocator.assign(three, two)
    other = service(ipFamilies=["IPv6"], clusterIP="fd00:10:96::1")

    assert two["spec"]["clusterIPs"] == BOTH
    assert three["spec"]["clusterIPs"] == BOTH[:1]
    assert fields(allocator, other) == []
