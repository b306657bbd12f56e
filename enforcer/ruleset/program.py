"""The fixed part of tables ``ip npd`` and ``ip6 npd``: their chains, the same on every node.

The way of a packet, the reasons for each hook and each protection in full: docs/packet-path.md.
The shape was attacked with real packets; the comments here say which attack a rule answers.

A table a family and not one for both: a packet is not asked for its family, and for its protocol
where its header has it (docs/decisions/0008). A change is one transaction for both.

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

from collections.abc import Iterator, Mapping
from typing import Final

from enforcer.model.net import Direction, Family
from enforcer.nft.objects import Chain, FieldType, Hook, HookName, Rule, VerdictMap, rule
from enforcer.ruleset.given import NOT_RELATED, SHORTCUT, ProgramInput
from enforcer.ruleset.names import HEADERS, dispatch_map
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
FRESH_TCP: Final = "fresh_tcp"  # the chain of what begins a TCP connection
JUDGE: Final = "judge"  # the chain that asks the classes about all else
LINK_LOCAL: Final = ("ip6 saddr fe80::/10 goto linklocal", "ip6 daddr fe80::/10 goto linklocal")
STAMP: Final = "stamp"  # the chain that the current epoch is read back from

# Neighbour discovery and multicast listener reports of hosts. Router advertisements and redirects
# are missing on purpose: from a pod they are an attack.
NEIGHBOUR_QUESTIONS: Final = (
    "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, "
    "mld-listener-report, mld-listener-done, mld2-listener-report"
)
NEIGHBOURS: Final = f"{NEIGHBOUR_QUESTIONS}, mld-listener-query"

ASKING: Final[Mapping[str, Mapping[Direction, str]]] = {
    FRESH_TCP: {Direction.EGRESS: "{} saddr", Direction.INGRESS: "{} daddr"},
    JUDGE: {Direction.EGRESS: "ct original {} saddr", Direction.INGRESS: "ct reply {} saddr"},
}
"""The chains that ask the classes, and how: for the client's egress, the true server's ingress.

The header of a connection's first packet has both: DNAT is done, SNAT is not. Asking it costs a
quarter of what asking conntrack does.
"""

# ICMP, as a packet of the family itself has it: an error says which connection it is about.
_ICMP: Final = {Family.IPV4: "ip protocol 1", Family.IPV6: "meta l4proto 58"}
_NOT_ICMP: Final = {Family.IPV4: "ip protocol != 1", Family.IPV6: "meta l4proto != 58"}
_PROHIBITED: Final = {
    Family.IPV4: "reject with icmp admin-prohibited",
    Family.IPV6: "reject with icmpv6 admin-prohibited",
}


def _states(name: str, *, related: str, new: str) -> VerdictMap:
    """Return where connections go by their state.

    The table's own map, not the rule's, for :mod:`enforcer.nft.declarations`' reason; with room for
    no more it is asked as a rule's own is.
    """
    chains = {"invalid": "untracked", "untracked": "untracked", "related": related, "new": new}
    return VerdictMap(
        name, (FieldType.CT_STATE,), chains, room=len(chains), gotos=frozenset(chains)
    )


STATES: Final = _states("states", related="related", new="fresh")
LOCAL_STATES: Final = _states("states_local", related="related_local", new="fresh_local")


def judging(given: ProgramInput) -> tuple[Chain, ...]:
    """Return the chains among which those are that know the epoch."""
    return (*_forward(given), *_input(given), *_output(given), *_police(given))


def others(given: ProgramInput) -> tuple[Chain, ...]:
    """Return the chains to which the epoch makes no difference."""
    return (*_fresh(given), *_endings(given))


def _chain(name: str, *rules: Rule | str, hook: Hook | None = None) -> Chain:
    made = tuple(item if isinstance(item, Rule) else rule(item) for item in rules)
    return Chain(name, made, hook)


def _of(given: ProgramInput, family: Family, *rules: Rule | str) -> tuple[Rule | str, ...]:
    """Return rules that only one family has."""
    return rules if given.family is family else ()


def _forward(given: ProgramInput) -> tuple[Chain, ...]:
    """Return what judges traffic between pods, and between pods and others."""
    return (
        _chain(
            "forward",
            # No "ct state established" here: an untracked or invalid packet has no mark at all (the
            # rule breaks off), and a one-way UDP flow, whose state stays new for ever, becomes fast
            # too.
            given.passing(given.tcp),
            # Most of what comes on begins a TCP connection.
            f"{given.tcp} ct state == new goto fresh_tcp",
            given.passing(NOT_RELATED),
            # One look at the state. Established goes straight on to be judged again: after a bump.
            f"ct state vmap @{STATES.name}",
            "goto judge",
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
            f"{_NOT_ICMP[given.family]} return",
            *_of(given, Family.IPV4, "icmp type redirect goto forged"),
            *(
                f"{given.header} saddr . ct {side} {given.header} saddr "
                f"@self{given.family.value} return"
                for side in ("original", "reply")
            ),
            "goto forged",
        ),
        _chain(
            "related_local",
            f"{_ICMP[given.family]} accept",
            "tcp flags & (syn | rst) == rst accept",
            "goto judge",
        ),
    )


def _fresh(given: ProgramInput) -> tuple[Chain, ...]:
    """Return what only the first packets of a connection are asked."""
    # A broadcast or multicast cannot be judged by its receiver's class (bridged pods), and the
    # answers would open the receiver both ways.
    to_all = "fib daddr type { broadcast, multicast } goto bmcast"
    return (
        _chain(
            "fresh",
            *(f"{match} jump from_pod" for match in given.pod_side("iifname")),
            *((to_all,) if Direction.INGRESS in given.isolated else ()),
            # TCP comes here behind IPv6 extension headers.
            *_of(given, Family.IPV6, f"meta l4proto 6 {NO_SYN} goto pickup"),
            "goto judge",
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
        _chain(
            FRESH_TCP,
            *(
                f"{match} jump from_pod_tcp"
                for match in (given.pod_side("iifname") if given.spoof else ())
            ),
            f"{NO_SYN} goto pickup",
            *_asked(given, FRESH_TCP),
        ),
        _pickup(given),
        _chain(
            "tunnel",
            f"fib daddr type != local {given.header} daddr != @nodes{given.family.value} return",
            "meta l4proto { 4, 47, 41 } counter drop",
            "udp dport @overlay counter drop",
        ),
        _chain(
            "bmcast",
            *_of(given, Family.IPV6, f"icmpv6 type {{ {NEIGHBOURS} }} accept"),
            *_of(given, Family.IPV4, rule("udp sport 68 udp dport 67 accept", "DHCP")),
            "counter drop",
        ),
    )


def _pickup(given: ProgramInput) -> Chain:
    """Return the chain for TCP that conntrack picked up in mid-stream, so its client is not known.

    From a client's port to a server's port it is judged in that order. Else, where the other
    order of roles could be denied, drop in silence: no entry stays, and the client's next packet
    makes one with the right roles. Never a reset: it would kill an allowed connection.
    """
    version = given.family.value
    return _chain(
        "pickup",
        "tcp sport >= 32768 tcp dport < 32768 goto judge",
        f"{given.header} saddr @isoi{version} counter drop",
        f"{given.header} daddr @isoe{version} counter drop",
        "goto judge",
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
            f"{given.header} saddr {given.pods} goto in_proxy",
            hook=Hook(HookName.INPUT, JUDGE_PRIORITY),
        ),
        # In another's name a pod would get at what a proxy on the node (IPVS) opens for that one.
        # A redirect or router advertisement would change the node's own routes.
        _chain(
            "to_node",
            "ct state established return",
            *_of(given, Family.IPV4, "icmp type redirect goto forged"),
            *_of(given, Family.IPV6, "icmpv6 type { nd-redirect, nd-router-advert } goto forged"),
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
            *(f"{given.header} {side} {given.pods} goto out_police" for side in ("saddr", "daddr")),
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
            f"ct state vmap @{LOCAL_STATES.name}",
            "goto judge",
        ),
        _chain("fresh_local", f"meta l4proto 6 {NO_SYN} goto pickup", "goto judge"),
        _chain(
            JUDGE,
            *_asked(given, JUDGE),
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


def _asked(given: ProgramInput, chain: str) -> Iterator[str]:
    """Yield the two questions, and what else the ends of a connection are asked.

    A direction in which no pod is isolated is not asked. The first pod that is, and the last, take
    a new epoch anyway.
    """
    # Link-local is for neighbours: between pods on one bridge it would be a way round every policy,
    # open even in a cluster that knows IPv4 only.
    yield from LINK_LOCAL if given.family is Family.IPV6 else ()
    for direction in (Direction.EGRESS, Direction.INGRESS):
        if direction in given.isolated:
            yield dispatch(chain, direction, given.family, given.room)
        yield from _unknown(given, local(chain, direction, given.family))
        if direction is Direction.EGRESS:
            # Before the server is asked: who is let in there goes to the stamp at once.
            yield from _unknown_behind(given)
    yield "goto stamp"


def dispatch(chain: str, direction: Direction, family: Family, room: int) -> str:
    """Return the rule by which a chain of :data:`ASKING` asks a direction's map of classes."""
    return f"{local(chain, direction, family)} vmap @{dispatch_map(direction, family, room)}"


def local(chain: str, direction: Direction, family: Family) -> str:
    """Return what a chain asks for the address of the pod that a direction is about."""
    return ASKING[chain][direction].format(HEADERS[family])


def _unknown(given: ProgramInput, key: str) -> tuple[str, ...]:
    """Return the rule for an address of our pod networks that no programmed pod has."""
    match = given.in_pod_networks(key)
    if not given.denies_unknown or not match:
        return ()
    return (f"{match} {key} != {given.pods} goto unknown",)


def _unknown_behind(given: ProgramInput) -> tuple[str, ...]:
    """Return the rules for unknown pods where the pod networks are not known: by interface."""
    if not given.denies_unknown or given.pod_networks:
        return ()
    return tuple(f"{match} != {given.pods} goto unknown" for match in _behind_pod_interfaces(given))


def _behind_pod_interfaces(given: ProgramInput) -> tuple[str, ...]:
    """Return matches of packets from and to a pod's interface, up to the pod's own address."""
    from_pod = (
        f"{side} iifname != @forwarders {given.header} saddr" for side in given.pod_side("iifname")
    )
    to_pod = (
        f"{side} oifname != @forwarders fib daddr type unicast {given.header} daddr"
        for side in given.pod_side("oifname")
    )
    return (*from_pod, *to_pod)


def _untracked(given: ProgramInput) -> Chain:
    """Return the chain for packets without a connection: invalid, or past a ``notrack``.

    They cannot be judged, so they do not reach isolated or unknown pods. Neighbour discovery is
    untracked by nature.
    """
    unknown = _unknown_untracked(given) if given.denies_unknown else ()
    return _chain(
        "untracked",
        *_of(given, Family.IPV6, f"icmpv6 type {{ {NEIGHBOURS} }} accept", *LINK_LOCAL),
        *(
            f"{given.header} {side} @iso{given.family.value} counter drop"
            for side in ("saddr", "daddr")
        ),
        *(f"{match} != {given.pods} counter drop" for match in unknown),
    )


def _unknown_untracked(given: ProgramInput) -> tuple[str, ...]:
    key = f"{given.header} daddr"
    if given.pod_networks:
        return (f"{given.in_pod_networks(key)} {key}",)
    return _behind_pod_interfaces(given)


def _endings(given: ProgramInput) -> tuple[Chain, ...]:
    """Return the chains in which packets end; their counters tell why packets are dropped."""
    return (
        _untracked(given),
        _chain("unknown", "counter drop"),
        _chain("forged", "counter drop"),
        _spoof(given),
        *(_link_local() if given.family is Family.IPV6 else ()),
        _chain(DENY, *_deny_rules(given)),
    )


def _spoof(given: ProgramInput) -> Chain:
    return _chain(
        "spoof",
        *_of(
            given,
            Family.IPV4,
            rule("ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept", "DHCP"),
        ),
        *_of(
            given,
            Family.IPV6,
            "ip6 saddr fe80::/10 goto spoof_linklocal",
            "ip6 saddr :: goto spoof_linklocal",
        ),
        "counter drop",
    )


def _link_local() -> tuple[Chain, ...]:
    return (
        _chain(
            "spoof_linklocal", f"icmpv6 type {{ {NEIGHBOUR_QUESTIONS} }} accept", "counter drop"
        ),
        _chain("linklocal", "counter drop"),
    )


def _deny_rules(given: ProgramInput) -> tuple[str, ...]:
    match given.options.deny_action:
        case DenyAction.DROP:
            return ("counter drop",)
        case DenyAction.REJECT:
            prohibited = _PROHIBITED[given.family]
            return (
                "counter",
                # A reset for a bridged packet leaves as a raw frame, not un-NATed: the client of a
                # Service would not know it. An ICMP error it does.
                f'meta iifkind "bridge" ct status & dnat == dnat {prohibited}',
                "meta l4proto 6 reject with tcp reset",
                prohibited,
            )
