"""Which interfaces lead to pods, from what ip says."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from enforcer.bridges import Shown
from enforcer.links import Behind, Links, wiring_from
from enforcer.wiring import BridgeFlag, BridgePort, PodBridge, SameNode, Wiring

PODS = frozenset({ip_address("10.2.0.1"), ip_address("10.2.0.2"), ip_address("fd00:2::1")})
NETWORKS = (ip_network("10.2.0.0/24"), ip_network("fd00:2::/64"))


SWITCHED = frozenset({BridgeFlag.IPV6})


def link(name: str, kind: str = "veth", master: str = "") -> dict[str, Any]:
    """Return a link as ip prints it."""
    found: dict[str, Any] = {"ifname": name, "linkinfo": {"info_kind": kind}}
    return found | ({"master": master} if master else {})


def route(destination: str, device: str, gateway: str = "") -> dict[str, Any]:
    """Return a route as ip prints it."""
    found: dict[str, Any] = {"dst": destination, "dev": device}
    return found | ({"gateway": gateway} if gateway else {})


def pod_link(name: str, master: str = "br0") -> dict[str, Any]:
    """Return a veth of a bridge whose other end is in another network namespace."""
    return link(name, master=master) | {"link_netnsid": 7, "link_index": 2}


ELSEWHERE = (
    route("default", "up0", "192.168.7.2"),
    route("default", "ppp0"),
    route("10.3.0.0/24", "up0", "192.168.7.3"),
    route("192.168.7.0/24", "up0"),
    route("fe80::/64", "v1"),
    route("10.2.0.0/26", "lo") | {"type": "blackhole"},
)


def test_routed_pods_are_behind_their_own_interfaces() -> None:
    """Each on-link route within the pod networks leads to a pod, known yet or not."""
    routes = (
        *ELSEWHERE,
        route("10.2.0.1", "v1"),
        route("10.2.0.9", "v9"),
        route("fd00:2::1", "v1"),
    )
    read = Links((link("v1"), link("v9"), link("up0")), routes, {}, {})

    assert wiring_from(read, PODS, NETWORKS, {}) == Wiring(frozenset({"v1", "v9"}))


def test_a_pod_that_is_not_wired_yet_does_not_make_the_uplink_a_pod_interface() -> None:
    """The default route leads to no pod, and neither does the route to another node's pods."""
    assert wiring_from(Links((link("up0"),), ELSEWHERE, {}, {}), PODS, NETWORKS, {}) == Wiring()


def test_a_pod_outside_the_pod_networks_is_found_by_its_best_route() -> None:
    """Addresses that the node does not announce are looked up one by one."""
    routes = (*ELSEWHERE, route("172.16.0.0/12", "up0"), route("172.16.0.5", "v5"))
    read = Links((link("v5"), link("up0")), routes, {}, {})

    assert wiring_from(read, frozenset({ip_address("172.16.0.5")}), (), {}).pod_interfaces == {"v5"}


OWN_END = ip_address("fe80::ff:fe00:201")
BRIDGED = (*ELSEWHERE, route("10.2.0.0/24", "br0"))


def test_a_port_leads_to_the_pod_whose_namespace_is_behind_it() -> None:
    """The other end of a veth pair tells its addresses; strangers among them are left out."""
    stranger = ip_address("10.9.0.1")
    read = Links(
        (link("br0", "bridge"), pod_link("v1"), link("x")),
        BRIDGED,
        {},
        {},
        {"v1": Behind("02::1", frozenset({ip_address("10.2.0.1"), OWN_END, stranger}))},
    )
    port = BridgePort("v1", frozenset({ip_address("10.2.0.1"), OWN_END}), "02::1")
    shown = Shown(SameNode.TURN, SWITCHED, "why")

    assert wiring_from(read, PODS, NETWORKS, {"br0": shown}) == Wiring(
        frozenset({"br0"}),
        (PodBridge("br0", (port,), SWITCHED, "", SameNode.TURN, "why"),),
        ("why",),
    )


def test_a_bridge_and_what_was_seen_behind_its_ports() -> None:
    """An address that no other end has is behind the port at which its MAC was seen."""
    read = Links(
        (link("br0", "bridge"), pod_link("v1"), pod_link("v2"), pod_link("v3")),
        BRIDGED,
        {
            "br0": (
                {"mac": "02::1", "ifname": "v1", "master": "br0", "state": ""},
                {"mac": "02::2", "ifname": "v2", "master": "br0", "state": "permanent"},
                {"mac": "02::9", "ifname": "v2", "master": "br0", "state": ""},
                {"mac": "33:33::1", "ifname": "v2", "state": "permanent"},
            )
        },
        {
            "br0": (
                {"dst": "10.2.0.1", "lladdr": "02::1"},
                {"dst": "10.2.0.77", "lladdr": "02::1"},
                {"dst": "10.2.0.2", "lladdr": "02::9"},
                {"dst": "10.2.0.3"},
            )
        },
        {"v3": Behind("02::3", frozenset({ip_address("10.2.0.2")}))},
    )
    ports = (
        BridgePort("v1", frozenset({ip_address("10.2.0.1")}), "02::1"),
        BridgePort("v2"),
        BridgePort("v3", frozenset({ip_address("10.2.0.2")}), "02::3"),
    )

    assert wiring_from(read, PODS, NETWORKS, {}).bridges == (PodBridge("br0", ports),)


def test_ports_of_other_bridges_are_foreign_and_ports_to_other_machines_are_uplinks() -> None:
    """A bridge without pods is left alone; what does not lead into a namespace leads out."""
    links = (
        link("br0", "bridge"),
        link("eth1", "", "br0"),
        link("docker0", "bridge"),
        pod_link("v7", "docker0"),
    )

    found = wiring_from(Links(links, BRIDGED, {}, {}), PODS, NETWORKS, {})

    assert found.foreign_ports == {"v7"}
    assert found.bridges == (PodBridge("br0", (BridgePort("eth1", uplink=True),)),)
