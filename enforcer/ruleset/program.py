"""The fixed part of table ``inet npd``: its chains, the same on every node.

The way of a packet, the reasons for each hook and each protection in full: docs/packet-path.md.
The shape was attacked with real packets; the comments here say which attack a rule answers.

Three things to know when reading the rules:

* A connection is judged by its *conntrack tuple*: ``ct original ip saddr`` is the true client,
  ``ct reply ip saddr`` and ``ct reply proto-src`` are the true server and its port, whatever NAT
  is done. One set of rules serves packets in both directions.
* ``goto``: the packet does not come back. ``jump``: it comes back unless it was decided.
* The end of a base chain accepts.

Protocols are numbers, see :mod:`enforcer.nft.elements`: 1 ICMP, 4 IPIP, 6 TCP, 17 UDP, 41 IPv6 in
IP, 47 GRE, 58 ICMPv6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from enforcer.model.net import Direction, Family
from enforcer.nft.objects import Chain, Hook, HookName, Rule, rule
from enforcer.ruleset.classes import HEADERS
from enforcer.ruleset.given import NOT_RELATED, SHORTCUT, TCP, ProgramInput
from enforcer.ruleset.names import dispatch_map
from enforcer.ruleset.options import DenyAction

# Before kube-proxy's and the CNI's filter chains (0), after DNAT (-100): the true server is known.
JUDGE_PRIORITY: Final = -5

TUNNELS: Final = "{ 4, 47, 41, 17 }"
IPS_HELPER: Final = "0x2000"  # IPS_HELPER of enum ip_conntrack_status: a helper is attached
# Nor IPS_EXPECTED: no helper has announced the connection.
NOT_SPECIAL: Final = "ct status & 0x00002001 == 0 "
# "tcp flags & (fin | syn | rst | ack) != syn", where the protocol is known: nft would look at it
# again.
NO_SYN: Final = "@th,104,8 & 0x17 != 0x02"
DENY: Final = "deny"  # the chain in which all that classes deny ends
STAMP: Final = "stamp"  # the chain that the current epoch is read back from

# Neighbour discovery and multicast listener reports of hosts. Router advertisements and redirects
# are missing on purpose: from a pod they are an attack.
NEIGHBOUR_QUESTIONS: Final = (
    "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, "
    "mld-listener-report, mld-listener-done, mld2-listener-report"
)
NEIGHBOURS: Final = f"{NEIGHBOUR_QUESTIONS}, mld-listener-query"

# Whose policies a direction is about: the client's egress, the server's ingress.
_SIDES: Final = {Direction.EGRESS: "original", Direction.INGRESS: "reply"}

# A comparison costs half of what a verdict map of two elements does.
BY_FAMILY: Final = ("meta nfproto ipv4 goto police4", "goto police6")


def chains(given: ProgramInput) -> tuple[Chain, ...]:
    """Return every fixed chain."""
    return (
        *_forward(given),
        *_input(given),
        *_output(given),
        *_fresh(given),
        *_police(given),
        *_endings(given),
    )


def _chain(name: str, *rules: Rule | str, hook: Hook | None = None) -> Chain:
    made = tuple(item if isinstance(item, Rule) else rule(item) for item in rules)
    return Chain(name, made, hook)


def _forward(given: ProgramInput) -> tuple[Chain, ...]:
    """Return what judges traffic between pods, and between pods and others."""
    return (
        _chain(
            "forward",
            # No "ct state established" here: an untracked or invalid packet has no mark at all (the
            # rule breaks off), and a one-way UDP flow, whose state stays new for ever, becomes fast
            # too.
            given.passing(TCP),
            # Most of what comes on begins a TCP connection.
            f"{TCP} ct state == new goto fresh_tcp",
            given.passing(NOT_RELATED),
            # One look at the state. Established goes straight on to be judged again: after a bump.
            "ct state vmap { invalid : goto untracked, untracked : goto untracked, "
            "related : goto related, new : goto fresh }",
            *BY_FAMILY,
            hook=Hook(HookName.FORWARD, JUDGE_PRIORITY),
        ),
        Chain(SHORTCUT, given.shortcut),
        # ICMP errors and the node's own resets pass, and are never stamped: they carry the
        # connection they speak of, and would stamp a revoked one. A connection that a helper
        # expects has a first packet that is related too; it is judged like any other.
        _chain(
            "related",
            *(f"{match} jump from_pod_related" for match in given.pod_side("iifname")),
            "goto related_local",
        ),
        # A pod's errors may only be about its own connections: anybody can write one that tells
        # others' that their way is too narrow, or that their server is gone.
        _chain(
            "from_pod_related",
            *given.spoof,
            "meta l4proto != { 1, 58 } return",
            "icmp type redirect goto forged",
            *(
                f"{header} saddr . ct {side} {header} saddr @self{version} return"
                for header, version in (("ip", 4), ("ip6", 6))
                for side in ("original", "reply")
            ),
            "goto forged",
        ),
        _chain(
            "related_local",
            "meta l4proto { 1, 58 } accept",
            "tcp flags & (syn | rst) == rst accept",
            *BY_FAMILY,
        ),
    )


def _fresh(given: ProgramInput) -> tuple[Chain, ...]:
    """Return what only the first packets of a connection are asked."""
    return (
        _chain(
            "fresh",
            *(f"{match} jump from_pod" for match in given.pod_side("iifname")),
            # A broadcast or multicast cannot be judged by its receiver's class (bridged pods), and
            # the answers would open the receiver both ways.
            "meta nfproto @bmdrop fib daddr type { broadcast, multicast } goto bmcast",
            *BY_FAMILY,
        ),
        _chain(
            "from_pod",
            # Tunnel packets of a pod's own making, to any node: decapsulated there, they would
            # come from anyone.
            f"meta l4proto {TUNNELS} jump tunnel",
            # A pod may not send from an address that does not live behind its own device: as an
            # outside peer to itself it would stamp an entry and open its own egress; as another
            # pod it would reach that pod's servers. Strict rp_filter knows neither IPv6 nor
            # bridges.
            *given.spoof,
        ),
        _chain("from_pod_tcp", *given.spoof),
        _chain("fresh_tcp", "meta nfproto ipv6 goto fresh_tcp6", *_fresh_tcp(given, Family.IPV4)),
        _chain("fresh_tcp6", *_fresh_tcp(given, Family.IPV6)),
        _pickup(Family.IPV4, "ip"),
        _pickup(Family.IPV6, "ip6"),
        _chain(
            "tunnel",
            "fib daddr type != local ip daddr != @nodes4 return",
            "fib daddr type != local ip6 daddr != @nodes6 return",
            "meta l4proto { 4, 47, 41 } counter drop",
            "udp dport @overlay counter drop",
        ),
        _chain(
            "bmcast",
            f"icmpv6 type {{ {NEIGHBOURS} }} accept",
            rule("udp sport 68 udp dport 67 accept", "DHCP"),
            "counter drop",
        ),
    )


def _fresh_tcp(given: ProgramInput, family: Family) -> tuple[str, ...]:
    """Return what the first packet of a TCP connection of one family is asked."""
    version = family.value
    from_pod = given.pod_side_of("iifname", family) if given.spoof else ()
    return (
        *(f"{match} jump from_pod_tcp" for match in from_pod),
        f"{NO_SYN} goto pickup{version}",
        f"goto police{version}",
    )


def _pickup(family: Family, header: str) -> Chain:
    """Return the chain for TCP that conntrack picked up in mid-stream, so its client is not known.

    From a client's port to a server's port it is judged in that order. Else, where the other
    order of roles could be denied, drop in silence: no entry stays, and the client's next packet
    makes one with the right roles. Never a reset: it would kill an allowed connection.
    """
    version = family.value
    return _chain(
        f"pickup{version}",
        f"tcp sport >= 32768 tcp dport < 32768 goto police{version}",
        f"{header} saddr @isoi{version} counter drop",
        f"{header} daddr @isoe{version} counter drop",
        f"goto police{version}",
    )


def _input(given: ProgramInput) -> tuple[Chain, ...]:
    """Return what judges pods' packets to this node.

    A pod may always reach its own node: nothing is judged, and nothing is stamped (IPVS comes
    through here before it has chosen a backend). Two exceptions: what a pod may not say to its
    node either, and packets for others that a transparent proxy takes.
    """
    return (
        _chain(
            "input",
            *(f"{match} jump to_node" for match in given.pod_side("iifname")),
            f"ip saddr {given.pods(Family.IPV4)} goto in_proxy",
            f"ip6 saddr {given.pods(Family.IPV6)} goto in_proxy",
            hook=Hook(HookName.INPUT, JUDGE_PRIORITY),
        ),
        # In another's name a pod would get at what a proxy on the node (IPVS) opens for that one.
        # A redirect or router advertisement would change the node's own routes.
        _chain(
            "to_node",
            "ct state established return",
            "icmp type redirect goto forged",
            "icmpv6 type { nd-redirect, nd-router-advert } goto forged",
            f"meta l4proto {TUNNELS} jump tunnel",
            *given.spoof,
        ),
        _chain("in_proxy", "fib daddr type local accept", given.fast, "goto police"),
    )


def _output(given: ProgramInput) -> tuple[Chain, ...]:
    """Return what judges packets that leave this node itself.

    The node may always reach its pods. It is known by a local source address, not by a list:
    127.0.0.1 with a NodePort, a keepalived address, NodeLocal DNSCache's, link-local. What is
    left are IPVS, transparent proxies, and resets that we send in a pod's name.
    """
    return (
        _chain(
            "output",
            f"ip saddr {given.pods(Family.IPV4)} goto out_police",
            f"ip daddr {given.pods(Family.IPV4)} goto out_police",
            f"ip6 saddr {given.pods(Family.IPV6)} goto out_police",
            f"ip6 daddr {given.pods(Family.IPV6)} goto out_police",
            hook=Hook(HookName.OUTPUT, JUDGE_PRIORITY),
        ),
        _chain("out_police", "fib saddr type local accept", given.fast, "goto police"),
    )


def _police(given: ProgramInput) -> tuple[Chain, ...]:
    """Return the chains that ask the classes: the client's egress, then the server's ingress.

    Jump and return, never an accept between the two questions: an accept for the client would
    end the packet's way before the server's policy is asked.
    """
    return (
        _chain(
            "police",
            "ct state vmap { invalid : goto untracked, untracked : goto untracked, "
            "related : goto related_local, new : goto fresh_local }",
            *BY_FAMILY,
        ),
        _chain("fresh_local", "meta l4proto 6 goto fresh_local_tcp", *BY_FAMILY),
        _chain("fresh_local_tcp", f"{NO_SYN} goto pickup", *BY_FAMILY),
        _chain("pickup", "meta nfproto ipv4 goto pickup4", "goto pickup6"),
        _chain("police4", *_asked(given, Family.IPV4)),
        _chain(
            "police6",
            # Link-local is for neighbours: between pods on one bridge it would be a way round
            # every policy, open even in a cluster that knows IPv4 only.
            "ip6 saddr fe80::/10 goto linklocal",
            "ip6 daddr fe80::/10 goto linklocal",
            *_asked(given, Family.IPV6),
        ),
        _chain(
            STAMP,
            # Nearly all: neither expected by a helper nor with one. What else is related, an ICMP
            # error or a reset of ours, was accepted before it came here.
            given.stamp(NOT_SPECIAL),
            "ct state related accept",
            rule(f"ct status & {IPS_HELPER} != 0 accept", "expectations would inherit the mark"),
            given.stamp(),
        ),
    )


def _asked(given: ProgramInput, family: Family) -> Iterator[str]:
    """Yield the two questions, and what else the ends of a connection are asked.

    A direction in which no pod is isolated is not asked. The first pod that is, and the last, take
    a new epoch anyway.
    """
    for direction in (Direction.EGRESS, Direction.INGRESS):
        if (direction, family) in given.isolated:
            yield dispatch(direction, family, given.room)
        yield from _unknown(given, family, _local(direction, family))
    yield from _unknown_behind(given, family, HEADERS[family])
    yield "goto stamp"


def dispatch(direction: Direction, family: Family, room: int) -> str:
    """Return the rule that sends a connection to the class of the pod that ``direction`` is of."""
    return f"{_local(direction, family)} vmap @{dispatch_map(direction, family, room)}"


def _local(direction: Direction, family: Family) -> str:
    """Return the address that ``direction`` is about: the client's, or the true server's."""
    return f"ct {_SIDES[direction]} {HEADERS[family]} saddr"


def _unknown(given: ProgramInput, family: Family, key: str) -> tuple[str, ...]:
    """Return the rule for an address of our pod networks that no programmed pod has."""
    match = given.in_pod_networks(key, family)
    if not given.denies_unknown or not match:
        return ()
    return (f"{match} {key} != {given.pods(family)} goto unknown",)


def _unknown_behind(given: ProgramInput, family: Family, header: str) -> tuple[str, ...]:
    """Return the rules for unknown pods where the pod networks are not known: by interface."""
    if not given.denies_unknown or given.pod_networks.get(family):
        return ()
    behind = _behind_pod_interfaces(given, header)
    return tuple(f"{match} != {given.pods(family)} goto unknown" for match in behind)


def _behind_pod_interfaces(given: ProgramInput, header: str) -> tuple[str, ...]:
    """Return matches of packets from and to a pod's interface, up to the pod's own address."""
    from_pod = (
        f"{side} iifname != @forwarders {header} saddr" for side in given.pod_side("iifname")
    )
    to_pod = (
        f"{side} oifname != @forwarders fib daddr type unicast {header} daddr"
        for side in given.pod_side("oifname")
    )
    return (*from_pod, *to_pod)


def _untracked(given: ProgramInput) -> Chain:
    """Return the chain for packets without a connection: invalid, or past a ``notrack``.

    They cannot be judged, so they do not reach isolated or unknown pods. Neighbour discovery is
    untracked by nature.
    """
    addresses = (("ip", Family.IPV4), ("ip6", Family.IPV6))
    isolated = [
        f"{header} {side} @iso{family.value} counter drop"
        for header, family in addresses
        for side in ("saddr", "daddr")
    ]
    unknown = [
        f"{match} != {given.pods(family)} counter drop"
        for header, family in addresses
        if given.denies_unknown
        for match in _unknown_untracked(given, header, family)
    ]
    return _chain(
        "untracked",
        f"icmpv6 type {{ {NEIGHBOURS} }} accept",
        "ip6 saddr fe80::/10 goto linklocal",
        "ip6 daddr fe80::/10 goto linklocal",
        *isolated,
        *unknown,
    )


def _unknown_untracked(given: ProgramInput, header: str, family: Family) -> tuple[str, ...]:
    key = f"{header} daddr"
    if given.pod_networks.get(family):
        return (f"{given.in_pod_networks(key, family)} {key}",)
    return _behind_pod_interfaces(given, header)


def _endings(given: ProgramInput) -> tuple[Chain, ...]:
    """Return the chains in which packets end; their counters tell why packets are dropped."""
    return (
        _untracked(given),
        _chain("unknown", "counter drop"),
        _chain("forged", "counter drop"),
        _chain(
            "spoof",
            rule("ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept", "DHCP"),
            "ip6 saddr fe80::/10 goto spoof_linklocal",
            "ip6 saddr :: goto spoof_linklocal",
            "counter drop",
        ),
        _chain(
            "spoof_linklocal", f"icmpv6 type {{ {NEIGHBOUR_QUESTIONS} }} accept", "counter drop"
        ),
        _chain("linklocal", "counter drop"),
        _chain(DENY, *_deny_rules(given.options.deny_action)),
    )


def _deny_rules(action: DenyAction) -> tuple[str, ...]:
    match action:
        case DenyAction.DROP:
            return ("counter drop",)
        case DenyAction.REJECT:
            return (
                "counter",
                # A reset for a bridged packet leaves as a raw frame, not un-NATed: the client of a
                # Service would not know it. An ICMP error it does.
                'meta iifkind "bridge" ct status & dnat == dnat reject with icmpx admin-prohibited',
                "meta l4proto 6 reject with tcp reset",
                "reject with icmpx admin-prohibited",
            )
