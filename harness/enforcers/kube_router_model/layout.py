"""The rules and sets of one node, as text for iptables and ipset. Pure functions."""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.enforcers.kube_router_model.world import Manifest, Pod, World

ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


class Direction(enum.Enum):
    """The two halves of a policy, by their names in ``policyTypes``."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


@dataclass(frozen=True, slots=True)
class IpSet:
    """An ipset: its type, and its members as ``ipset add`` takes them."""

    kind: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a node holds: sets and chains by their names, and the rules that lead to the chains."""

    sets: Mapping[str, IpSet]
    chains: Mapping[str, tuple[str, ...]]
    jumps: tuple[str, ...]
    """Built-in chain and rule, as ``FORWARD -d 10.1.0.2 -j KUBE-POD-FW-…``, in their order."""


def layout(world: World, node: str) -> Layout:
    """Return the layout of a node: every policy's chain and sets, and a chain for each local pod.

    Policies of other nodes' pods are there as well: 0.2.0 does not ask where they are. Jumps by
    source come before jumps by destination, since 0.2.0 puts them at the top after these: so a
    client's egress is asked first.
    """
    sets: dict[str, IpSet] = {}
    chains: dict[str, tuple[str, ...]] = {}
    jumps: dict[Direction, list[str]] = {Direction.EGRESS: [], Direction.INGRESS: []}
    selected = [(policy, world.selected(policy)) for policy in world.policies]
    for policy, targets in selected:
        made = _PolicyChain(policy, targets, world)
        chains[_policy_name(policy)] = tuple(made.rules())
        sets |= made.sets
    for pod in (one for one in world.pods if one.node == node):
        mine = [policy for policy, targets in selected if pod in targets]
        if mine:
            name = _name("KUBE-POD-FW-", str(pod))
            chains[name] = tuple(_pod_chain(pod, mine))
            for way in {way for policy in mine for way in directions(policy)}:
                jumps[way] += _jumps(pod, name, way)
    return Layout(sets, chains, tuple(jump for way in jumps.values() for jump in way))


def directions(policy: Manifest) -> tuple[Direction, ...]:
    """Return the directions in which a policy isolates; where it does not say, by its rules."""
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return tuple(one for one in Direction if one.value in types)


def _pod_chain(pod: Pod, policies: Iterable[Manifest]) -> Iterator[str]:
    yield f"{_comment('replies')} {ESTABLISHED}"
    yield f"{_comment('own node')} -m addrtype --src-type LOCAL -d {pod.address} -j ACCEPT"
    for policy in policies:
        yield f"{_comment(f'policy {_whose(policy)}')} -j {_policy_name(policy)}"
    yield f"{_comment(f'no policy of {pod} accepts')} -j REJECT"


def _jumps(pod: Pod, chain: str, way: Direction) -> Iterator[str]:
    inward = way is Direction.INGRESS
    address, words = (f"-d {pod.address}", "to") if inward else (f"-s {pod.address}", "from")
    end = f"{address} {_comment(f'{words} {pod}')} -j {chain}"
    yield from (f"FORWARD {end}", f"FORWARD -m physdev --physdev-is-bridged {end}")
    if inward:
        yield f"OUTPUT {end}"


@dataclass(slots=True)
class _PolicyChain:
    """The chain of one policy, and the sets that its rules look into."""

    policy: Manifest
    targets: Sequence[Pod]
    world: World
    sets: dict[str, IpSet] = field(default_factory=dict)

    def rules(self) -> Iterator[str]:
        for way in directions(self.policy):
            key, peers = ("ingress", "from") if way is Direction.INGRESS else ("egress", "to")
            for number, rule in enumerate(self.policy["spec"].get(key) or ()):
                yield from self._rule(way, f"{key}-{number}", rule, rule.get(peers) or ())

    def _rule(
        self, way: Direction, label: str, rule: Manifest, peers: Sequence[Manifest]
    ) -> Iterator[str]:
        inward = way is Direction.INGRESS
        target = self._addresses("KUBE-DST-" if inward else "KUBE-SRC-", "target", self.targets)
        own = _match(target, "dst" if inward else "src")
        for match, pods in self._peers(label, peers, "src" if inward else "dst"):
            for port in self._ports(label, rule, self.targets if inward else pods):
                words = (_comment(f"{_whose(self.policy)} {label}"), match, own, port, "-j ACCEPT")
                yield " ".join(word for word in words if word)

    def _peers(
        self, label: str, peers: Sequence[Manifest], side: str
    ) -> Iterator[tuple[str, Sequence[Pod]]]:
        """Yield a match for each kind of peer, with the pods that it may match."""
        prefix = "KUBE-SRC-" if side == "src" else "KUBE-DST-"
        if not peers:
            yield "", self.world.pods
            return
        pods = tuple(
            dict.fromkeys(p.address for one in peers for p in self.world.peers(self.policy, one))
        )
        if pods:
            named = self._set(prefix, label, IpSet("hash:ip", pods))
            yield _match(named, side), [p for p in self.world.pods if p.address in pods]
        blocks = tuple(dict.fromkeys(net for one in peers for net in _networks(one)))
        if blocks:
            named = self._set(prefix, f"{label}-blocks", IpSet("hash:net", blocks))
            yield _match(named, side), ()

    def _ports(self, label: str, rule: Manifest, servers: Sequence[Pod]) -> Iterator[str]:
        """Yield a match for each port; one that is empty where the rule has no ports."""
        if not rule.get("ports"):
            yield ""
        for port in rule.get("ports") or ():
            protocol, number = port.get("protocol", "TCP"), port.get("port")
            if isinstance(number, str):
                yield from self._named_port(label, number, protocol, servers)
            else:
                yield _port_match(protocol, number, port.get("endPort"))

    def _named_port(
        self, label: str, name: str, protocol: str, servers: Sequence[Pod]
    ) -> Iterator[str]:
        by_number: dict[int, list[Pod]] = {}
        for pod in servers:
            if (name, protocol) in pod.ports:
                by_number.setdefault(pod.ports[name, protocol], []).append(pod)
        for number, pods in sorted(by_number.items()):
            holders = self._addresses("KUBE-DST-", f"{label}-{name}-{protocol}-{number}", pods)
            yield f"{_match(holders, 'dst')} {_port_match(protocol, number, None)}"

    def _addresses(self, prefix: str, label: str, pods: Iterable[Pod]) -> str:
        return self._set(prefix, label, IpSet("hash:ip", tuple(pod.address for pod in pods)))

    def _set(self, prefix: str, label: str, made: IpSet) -> str:
        name = _name(prefix, f"{_whose(self.policy)} {label}")
        self.sets[name] = made
        return name


def _networks(peer: Manifest) -> Iterator[str]:
    block = peer.get("ipBlock") or {}
    if ":" in block.get("cidr", ":"):
        return
    yield from _halves(block["cidr"])
    for cidr in block.get("except") or ():
        yield from (f"{half} nomatch" for half in _halves(cidr))


def _halves(cidr: str) -> tuple[str, ...]:
    """Cut 0.0.0.0/0 in two: a hash:net holds no network of size 0 (ipset(8))."""
    return ("0.0.0.0/1", "128.0.0.0/1") if cidr.endswith("/0") else (cidr,)


def _port_match(protocol: str, first: int | None, last: int | None) -> str:
    name = protocol.lower()
    if first is None:
        return f"-p {name}"
    return f"-p {name} -m {name} --dport {first}" + (f":{last}" if last else "")


def _match(name: str, side: str) -> str:
    return f"-m set --match-set {name} {side}"


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _policy_name(policy: Manifest) -> str:
    return _name("KUBE-NWPLCY-", _whose(policy))


def _whose(thing: Manifest) -> str:
    return f"{thing['metadata']['namespace']}/{thing['metadata']['name']}"


def _name(prefix: str, whose: str) -> str:
    """Return a name that fits: chains have at most 28 characters, sets 31."""
    digest = base64.b32encode(hashlib.sha256(whose.encode()).digest()).decode()
    return prefix + digest[:16]
