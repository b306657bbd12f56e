"""Table ``bridge npd``: only on nodes with a pod bridge. It needs no br_netfilter.

Between ports of a pod bridge nothing passes that our other tables would not see, and a port sends
only from the addresses of its pod: MAC, IPv4, IPv6, ARP and neighbour discovery. On a bridge whose
way is ``turn`` frames between two ports are turned to the bridge itself, which routes them.

Ports of bridges without pods are left alone (``foreign``). A port that nobody was seen at yet may
not send in the name of those who were (``known4``, ``known6``,
``knownmacs``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from enforcer.model.net import Family, IPAddress
from enforcer.nft.elements import address, concat, integer, interface
from enforcer.nft.objects import (
    Chain,
    FieldType,
    Hook,
    HookName,
    Rule,
    Ruleset,
    Set,
    Table,
    VerdictMap,
    rule,
    table,
)
from enforcer.policy.compiled import LocalPod
from enforcer.ruleset.names import ADDRESS_FIELDS, BRIDGE, turn_set
from enforcer.wiring import BridgeFlag, BridgePort, PodBridge, SameNode, Wiring

# Before br_netfilter's own hook (0), which hands the packet to conntrack.
SOURCE_PRIORITY: Final = -300
SHAPE_PRIORITY: Final = -200

ETHER_TYPES: Final = {Family.IPV4: "ip", Family.IPV6: "ip6"}
STOLEN_MAC: Final = "iifname . ether saddr != @macs ether saddr @knownmacs"
# The target of a neighbour advertisement; nft 1.0.6 has no name for it.
ND_TARGET: Final = "@th,64,128"
# What hosts say to their neighbours. Router advertisements and redirects are missing on purpose.
NEIGHBOURS: Final = (
    "{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, "
    "mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }"
)
WITHOUT_ADDRESS: Final = (
    "{ nd-neighbor-solicit, nd-router-solicit, mld-listener-report, mld2-listener-report }"
)

FRAMES: Final = VerdictMap(
    "frames",
    (FieldType.ETHER_TYPE,),
    {"ip": "from4", "ip6": "from6", "arp": "fromarp"},
    room=3,
    gotos=frozenset({"arp"}),
)


@dataclass(frozen=True, slots=True)
class _Source:
    """From where an address may come: a port and a MAC address."""

    port: str
    mac: str


Sources = Mapping[IPAddress, _Source]


def lower_bridges(
    wiring: Wiring, pods: Iterable[LocalPod], have: Ruleset, *, strict: bool = True
) -> Table:
    """Return the bridge table; ``strict``: a port may send from its pod's addresses only.

    ``have`` is what the kernel holds: an address stays with the port it was first seen at, or a
    pod could take over another pod's address by claiming it.
    """
    pods, bridges = tuple(pods), wiring.bridges
    sources = _sources(bridges, pods, have) if strict else frozenset()
    forwarding = {port.name for port in _ports(bridges) if port.forwards}
    turned = _turned(bridges)
    return table(
        BRIDGE,
        sets=(
            _interfaces("foreign", wiring.foreign_ports, "ports of bridges without pods"),
            _interfaces("uplinks", (port.name for port in _ports(bridges) if port.uplink)),
            _interfaces("ports", {source.port for _, source in sources} - forwarding),
            *(item for family in Family for item in _address_sets(family, sources)),
            *_mac_sets({source for _, source in sources}),
            _nd_set(sources),
            *(_interfaces(turn_set(mac), names) for mac, names in turned.items()),
            *(_turn_sets(bridges, pods) if turned else ()),
            *(_flag_set(flag, bridges, have) for flag in BridgeFlag),
        ),
        maps=(FRAMES,),
        chains=(*_source_chains(turned), *_shape_chains(turned)),
    )


def _ports(bridges: Iterable[PodBridge]) -> list[BridgePort]:
    return [port for bridge in bridges for port in bridge.ports]


def _turned(bridges: Iterable[PodBridge]) -> dict[str, list[str]]:
    """Return the ports whose frames are to be turned, by the MAC address to turn them to."""
    found: dict[str, list[str]] = {}
    for bridge in bridges:
        if bridge.way is SameNode.TURN:
            found.setdefault(bridge.mac, []).extend(port.name for port in bridge.ports)
    return found


def _sources(
    bridges: Iterable[PodBridge], pods: Iterable[LocalPod], have: Ruleset
) -> frozenset[tuple[IPAddress, _Source]]:
    """Return every address and from where it may come; link-local ones can be at many ports."""
    ports = {port.name: port for port in _ports(bridges)}
    seen = {
        known: _Source(port.name, port.mac)
        for port in ports.values()
        for known in port.addresses
        if port.mac and not known.is_link_local
    }
    found = _of_whole_pods({**seen, **_remembered(have, ports)}, pods)
    local = (
        (known, source)
        for source in frozenset(found.values())
        for known in (*ports[source.port].addresses, _link_local(source.mac))
        if known.is_link_local
    )
    return frozenset((*found.items(), *local))


def _remembered(have: Ruleset, ports: Mapping[str, BridgePort]) -> dict[IPAddress, _Source]:
    """Return where each address was, as the kernel's table has it, for ports still there."""
    old = have.tables.get(BRIDGE)
    found: dict[IPAddress, _Source] = {}
    for name in ("src4", "src6") if old else ():
        for element in old.sets[name].elements if old and name in old.sets else ():
            parts = element.split(" . ")
            port = ports.get(parts[0].strip('"'))
            if port is not None and len(parts) == len(("port", "mac", "address")):
                found[ipaddress.ip_address(parts[2])] = _Source(port.name, port.mac or parts[1])
    return found


def _of_whole_pods(sources: Sources, pods: Iterable[LocalPod]) -> dict[IPAddress, _Source]:
    """Extend what is known of one of a pod's addresses to all of them; forget strangers."""
    found: dict[IPAddress, _Source] = {}
    for pod in pods:
        source = next((sources[known] for known in pod.addresses if known in sources), None)
        if source is not None:
            found.update(dict.fromkeys(pod.addresses, source))
    return found


def _link_local(mac: str) -> IPAddress:
    """Return the link-local address that an interface makes of its MAC address (RFC 4291)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    ending = bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + ending)


def _interfaces(name: str, interfaces: Iterable[str], comment: str = "") -> Set:
    return Set(name, (FieldType.INTERFACE,), frozenset(map(interface, interfaces)), comment=comment)


def _address_sets(family: Family, sources: Iterable[tuple[IPAddress, _Source]]) -> tuple[Set, Set]:
    """Return what each port may send from, and whose name is taken."""
    version, kind = family.value, ADDRESS_FIELDS[family]
    own = [(known, source) for known, source in sources if known.version == version]
    return (
        Set(
            f"src{version}",
            (FieldType.INTERFACE, FieldType.MAC, kind),
            frozenset(
                concat(interface(source.port), source.mac, address(known)) for known, source in own
            ),
        ),
        Set(f"known{version}", (kind,), frozenset(address(known) for known, _ in own)),
    )


def _mac_sets(sources: Iterable[_Source]) -> tuple[Set, Set]:
    own = frozenset(concat(interface(source.port), source.mac) for source in sources)
    return (
        Set("macs", (FieldType.INTERFACE, FieldType.MAC), own),
        Set("knownmacs", (FieldType.MAC,), frozenset(source.mac for source in sources)),
    )


def _nd_set(sources: Iterable[tuple[IPAddress, _Source]]) -> Set:
    return Set(
        "nd6",
        (FieldType.INTERFACE, FieldType.ND_TARGET),
        frozenset(
            concat(interface(source.port), integer(int(known)))
            for known, source in sources
            if known.version == Family.IPV6.value
        ),
    )


def _turn_sets(bridges: Iterable[PodBridge], pods: Iterable[LocalPod]) -> tuple[Set, Set]:
    shown = (port.name for item in bridges if item.way is not SameNode.TURN for port in item.ports)
    closed = frozenset(
        ETHER_TYPES[family]
        for pod in pods
        for item in (pod.ingress, pod.egress)
        if item is not None and not item.allowed.everything
        for family in Family
        if any(known.version == family.value for known in pod.addresses)
    )
    return (
        _interfaces("shown", shown, "ports of bridges whose packets meet our tables"),
        Set("closed", (FieldType.ETHER_TYPE,), closed, comment="families with isolated pods"),
    )


def _flag_set(flag: BridgeFlag, bridges: Iterable[PodBridge], have: Ruleset) -> Set:
    """Return the bridges whose flag we have changed: no rule asks, cleaning up does."""
    old = have.tables.get(BRIDGE)
    before = old.sets[flag.value].elements if old and flag.value in old.sets else frozenset()
    names = frozenset(
        interface(bridge.name)
        for bridge in bridges
        if flag in bridge.changed or interface(bridge.name) in before
    )
    return Set(flag.value, (FieldType.INTERFACE,), names, comment="changed by us")


def _source_chains(turned: Mapping[str, Iterable[str]]) -> tuple[Chain, ...]:
    """Return what a frame is asked where it comes in."""
    return (
        _chain(
            "prerouting",
            "iifname @foreign accept",
            f"ether type vmap @{FRAMES.name}",
            # A VLAN tag with the number 0 would hide a packet from the checks above and from
            # br_netfilter, and is taken off by whoever receives it.
            "ether type != { ip, ip6 } iifname != @uplinks counter drop",
            *(f"iifname @{turn_set(mac)} goto {turn_set(mac)}" for mac in turned),
            hook=Hook(HookName.PREROUTING, SOURCE_PRIORITY),
        ),
        _chain(
            "from4",
            "iifname . ether saddr . ip saddr @src4 return",
            "iifname != @ports goto stranger4",
            rule(
                "ip saddr . ip daddr { 0.0.0.0 . 255.255.255.255 } udp dport 67 "
                "iifname . ether saddr @macs return",
                "DHCP",
            ),
            "counter drop",
        ),
        _chain(
            "from6",
            "iifname . ether saddr . ip6 saddr @src6 goto neighbour",
            "iifname != @ports goto stranger6",
            rule(
                f"ip6 saddr :: icmpv6 type {WITHOUT_ADDRESS} iifname . ether saddr @macs return",
                "DAD",
            ),
            "counter drop",
        ),
        _chain(
            "neighbour",
            # "That address lives at my MAC address": of one's own addresses only.
            f"icmpv6 type nd-neighbor-advert iifname . {ND_TARGET} != @nd6 counter drop",
            "icmpv6 type { nd-router-advert, nd-redirect } counter drop",
        ),
        _chain(
            "fromarp",
            "iifname . ether saddr . arp saddr ip @src4 iifname . arp saddr ether . arp saddr ip "
            "@src4 accept",
            "iifname != @ports goto strangerarp",
            rule("arp saddr ip 0.0.0.0 iifname . ether saddr @macs accept", "probe"),
            "counter drop",
        ),
        _chain("stranger4", "ip saddr @known4 counter drop", f"{STOLEN_MAC} counter drop"),
        _chain("stranger6", "ip6 saddr @known6 counter drop", f"{STOLEN_MAC} counter drop"),
        _chain(
            "strangerarp",
            "arp saddr ip @known4 counter drop",
            f"{STOLEN_MAC} counter drop",
        ),
        *(_turn(mac) for mac in turned),
    )


def _turn(mac: str) -> Chain:
    """Return the chain that makes a switched packet a routed one: it meets our other tables then.

    Broadcasts and multicasts go their way, as do questions whether a neighbour is still there.
    """
    return _chain(
        turn_set(mac),
        "ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 accept",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        f"ether daddr set {mac} meta pkttype set host",
    )


def _shape_chains(turned: Mapping[str, Iterable[str]]) -> tuple[Chain, ...]:
    """Return what a frame is asked before it goes to another port."""
    shape = (
        "iifname @foreign accept",
        "ether type != { ip, ip6, arp } counter drop",
    )
    if not turned:
        return (_chain("forward", *shape, hook=Hook(HookName.FORWARD, SHAPE_PRIORITY)),)
    return (
        _chain(
            "forward",
            *shape,
            "iifname @shown accept",
            "goto unturned",
            hook=Hook(HookName.FORWARD, SHAPE_PRIORITY),
        ),
        # What was not turned meets no other rule of ours: where a pod is isolated it goes nowhere.
        # A port that is not known yet ends here too.
        _chain("unturned", f"icmpv6 type {NEIGHBOURS} accept", "ether type @closed counter drop"),
        # The node would tell the pods a shorter way, past it. For IPv6 no sysctl forbids it, and
        # the bridge's own for IPv4 does nothing where net.ipv4.conf.all.send_redirects is 1.
        _chain(
            "output",
            "oifname @foreign accept",
            "icmp type redirect counter drop",
            "icmpv6 type nd-redirect counter drop",
            hook=Hook(HookName.OUTPUT, SHAPE_PRIORITY),
        ),
    )


def _chain(name: str, *rules: Rule | str, hook: Hook | None = None) -> Chain:
    made = tuple(item if isinstance(item, Rule) else rule(item) for item in rules)
    return Chain(name, made, hook)
