"""Table ``bridge npd``: only on nodes with a pod bridge. It needs no br_netfilter.

Between ports of a bridge nothing passes that table ``inet npd`` would not see, and a port sends
only from the addresses of its pod, in IPv4, IPv6 and ARP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from enforcer.model.net import IPAddress
from enforcer.nft.elements import address, concat, interface
from enforcer.nft.objects import Chain, FieldType, Hook, HookName, Ruleset, Set, Table, rule, table
from enforcer.policy.compiled import LocalPod
from enforcer.ruleset.names import BRIDGE
from enforcer.wiring import BridgeFlag, PodBridge

# Before br_netfilter's own hook (0), which hands the packet to conntrack.
SOURCE_PRIORITY: Final = -300
SHAPE_PRIORITY: Final = -200

Sources = Mapping[IPAddress, str]


def lower_bridges(bridges: Iterable[PodBridge], pods: Iterable[LocalPod], have: Ruleset) -> Table:
    """Return the bridge table.

    A port whose pod was not seen yet is left out, and so is not checked. ``have`` is what the
    kernel holds: an address stays with the port it was first seen at, or a pod could take over
    another pod's address by sending with its MAC address.
    """
    pods, bridges = tuple(pods), tuple(bridges)
    ports = {port.name for bridge in bridges for port in bridge.ports}
    sources = _of_whole_pods({**_seen(bridges), **_remembered(have, ports)}, pods)
    return table(
        BRIDGE,
        sets=(
            Set("ports", (FieldType.INTERFACE,), frozenset(map(interface, sources.values()))),
            _source_set("src4", FieldType.IPV4, sources),
            _source_set("src6", FieldType.IPV6, sources),
            *(_flag_set(flag, bridges, have) for flag in BridgeFlag),
        ),
        chains=_chains(),
    )


def _seen(bridges: Iterable[PodBridge]) -> dict[IPAddress, str]:
    return {
        known: port.name for bridge in bridges for port in bridge.ports for known in port.addresses
    }


def _remembered(have: Ruleset, ports: set[str]) -> dict[IPAddress, str]:
    """Return address -> port as the kernel's table has it, for ports that are still there."""
    old = have.tables.get(BRIDGE)
    found: dict[IPAddress, str] = {}
    for name in ("src4", "src6") if old else ():
        for element in old.sets[name].elements if old and name in old.sets else ():
            port, _, text = element.partition(" . ")
            if port.strip('"') in ports:
                found[ipaddress.ip_address(text)] = port.strip('"')
    return found


def _of_whole_pods(sources: Sources, pods: Iterable[LocalPod]) -> dict[IPAddress, str]:
    """Extend what is known of one of a pod's addresses to all of them; forget strangers."""
    found: dict[IPAddress, str] = {}
    for pod in pods:
        port = next((sources[known] for known in pod.addresses if known in sources), None)
        if port is not None:
            found.update(dict.fromkeys(pod.addresses, port))
    return found


def _flag_set(flag: BridgeFlag, bridges: Iterable[PodBridge], have: Ruleset) -> Set:
    """Return the bridges whose flag we have switched on: no rule asks, cleaning up does."""
    old = have.tables.get(BRIDGE)
    before = old.sets[flag.value].elements if old and flag.value in old.sets else frozenset()
    names = frozenset(
        interface(bridge.name)
        for bridge in bridges
        if flag in bridge.switched_on or interface(bridge.name) in before
    )
    return Set(flag.value, (FieldType.INTERFACE,), names, comment="switched on by us")


def _source_set(name: str, kind: FieldType, sources: Sources) -> Set:
    version = 4 if kind is FieldType.IPV4 else 6
    return Set(
        name,
        (FieldType.INTERFACE, kind),
        frozenset(
            concat(interface(port), address(known))
            for known, port in sources.items()
            if known.version == version
        ),
    )


def _chains() -> tuple[Chain, ...]:
    return (
        Chain(
            "prerouting",
            (
                rule(
                    "iifname @ports ether type vmap "
                    "{ ip : goto from4, ip6 : goto from6, arp : goto fromarp }"
                ),
            ),
            Hook(HookName.PREROUTING, SOURCE_PRIORITY),
        ),
        Chain(
            "from4",
            (
                rule(
                    "ip saddr . ip daddr { 0.0.0.0 . 255.255.255.255 } udp dport 67 accept", "DHCP"
                ),
                rule("iifname . ip saddr != @src4 counter drop"),
            ),
        ),
        Chain(
            "from6",
            (
                # Table inet lets link-local sources do nothing but neighbour discovery.
                rule("ip6 saddr fe80::/10 accept"),
                rule("ip6 saddr :: accept"),
                rule("iifname . ip6 saddr != @src6 counter drop"),
            ),
        ),
        Chain(
            "fromarp",
            (
                rule("arp saddr ip 0.0.0.0 accept", "probe"),
                rule("iifname . arp saddr ip != @src4 counter drop"),
            ),
        ),
        Chain(
            "forward",
            # A frame with VLAN 0 is bridged past br_netfilter and received like an untagged one.
            (rule("ether type != { ip, ip6, arp } counter drop"),),
            Hook(HookName.FORWARD, SHAPE_PRIORITY),
        ),
    )
