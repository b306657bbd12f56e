"""The oracle against a second reading of the same texts, on clusters that nobody thought of.

The oracle takes a connection and asks each policy about it. The reading here goes the other way
round: it takes the policies one after the other and writes down, for every pod and direction, all
that is allowed, as a plain set of address, protocol and port; then it looks connections up. The
two share no code: not the selectors, not the networks, not the Services.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.matrix.oracle import Oracle
from tests.property import drawn
from tests.property.drawn import NAMESPACES, Json

CLUSTERS: Final = 1000
QUESTIONS: Final = 150
"""Connections between addresses that are drawn in each cluster; half are of two families."""

NODES: Final = {"n1": ("172.20.0.1", "fd01::1"), "n2": ("172.20.0.2", "fd01::2")}
OUTSIDE: Final = ("14.215.0.10", "14.216.0.10", "2001:db8::7")
PORTS: Final = (79, 80, 81, 443)
SERVICE_PORT, NODE_PORT = 80, 30080
WAYS: Final = (
    *itertools.product(("TCP", "UDP", "SCTP"), PORTS),
    ("TCP", NODE_PORT),
    ("ICMP", 0),
)

# --- clusters -------------------------------------------------------------------------------------

named_ports = st.fixed_dictionaries(
    {
        "name": st.sampled_from(("http", "dns")),
        "containerPort": st.sampled_from((80, 81)),
        "protocol": st.sampled_from(("TCP", "UDP")),
    }
)


def pods(index: int) -> st.SearchStrategy[Json]:
    """Pod number ``index``, whose addresses are its own."""
    addresses = [f"10.0.0.{index}", f"fd00::{index}"]
    return st.builds(
        lambda namespace, node, marks, host, phase, ready, ips, ports: {
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": f"p{index}", "labels": marks},
            "spec": {"nodeName": node, "hostNetwork": host, "containers": [{"ports": ports}]},
            "status": {
                "phase": phase,
                "podIPs": [{"ip": ip} for ip in (NODES[node] if host else addresses)[:ips]],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        },
        st.sampled_from(NAMESPACES),
        st.sampled_from(tuple(NODES)),
        drawn.labels,
        st.sampled_from((False,) * 7 + (True,)),
        st.sampled_from(("Running",) * 7 + ("Succeeded", "Failed")),
        st.sampled_from(("True",) * 5 + ("False",)),
        st.sampled_from((1, 2, 2, 2, 0)),
        st.lists(named_ports, max_size=2, unique_by=lambda one: (one["name"], one["protocol"])),
    )


blocks: drawn.Some = st.sampled_from(
    (
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "14.216.0.0/16"]},
        {"cidr": "10.0.0.0/29", "except": ["10.0.0.3/32", "10.0.0.4/31"]},
        {"cidr": "10.0.0.5/30"},
        {"cidr": "172.20.0.1/32"},
        {"cidr": "14.215.0.0/16", "except": []},
        {"cidr": "::/0", "except": ["fd00::/126"]},
        {"cidr": "fd00::4/126"},
    )
)


def services(index: int) -> st.SearchStrategy[Json]:
    """Service number ``index``, of both families; the first one has NodePorts."""
    return st.builds(
        lambda namespace, selector, target, node_port: {
            "kind": "Service",
            "metadata": {"namespace": namespace, "name": f"s{index}"},
            "spec": {
                "selector": selector,
                "clusterIPs": [f"10.96.0.{index}", f"fd02::{index}"],
                "ports": [{"port": SERVICE_PORT, "targetPort": target, **node_port}],
            },
        },
        st.sampled_from(NAMESPACES),
        st.sampled_from(({"a": "x"}, {"a": "y"}, {"b": "x"}, {"b": "y"}, {})),
        st.sampled_from((80, 80, 81, "http")),
        st.just({"nodePort": NODE_PORT} if index == 1 else {}),
    )


def policies(index: int) -> st.SearchStrategy[Json]:
    """A policy; ``index`` tells it from the others."""
    made = drawn.policies(index, drawn.peers(blocks))
    return made.map(lambda one: {"kind": "NetworkPolicy", **one})


def namespaces(name: str) -> st.SearchStrategy[Json]:
    """A namespace with some labels."""
    return drawn.labels.map(
        lambda marks: {"kind": "Namespace", "metadata": {"name": name, "labels": marks}}
    )


nodes = [
    {
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": one} for one in addresses]},
    }
    for name, addresses in NODES.items()
]
worlds = st.tuples(
    *map(pods, range(1, 6)),
    *map(services, (1, 2)),
    *map(namespaces, NAMESPACES),
    *map(policies, range(3)),
).map(lambda drawn_ones: [*drawn_ones, *nodes])

# --- the second reading -------------------------------------------------------------------------

Way = tuple[str, int]
"""A protocol and the server's port."""
Triple = tuple[str, str, int]
"""Somebody's address, a protocol, and the server's port."""


@dataclass
class Reading:
    """Everything that is allowed, written down. ``None``: not isolated."""

    world: list[Json]
    owner: dict[str, Json] = field(default_factory=dict)
    allowed: dict[tuple[str, str], set[Triple] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write it down."""
        for pod in self.of("Pod"):
            ended = pod["status"]["phase"] in ("Succeeded", "Failed")
            if not ended and not pod["spec"]["hostNetwork"]:
                self.owner |= {one["ip"]: pod for one in pod["status"]["podIPs"]}
        self.everybody = {*self.owner, *OUTSIDE, *itertools.chain(*NODES.values())}
        for pod, side in itertools.product(self.of("Pod"), ("Ingress", "Egress")):
            self.allowed[pod["metadata"]["name"], side] = None
        for policy in self.of("NetworkPolicy"):
            self.add(policy)

    def of(self, kind: str) -> list[Json]:
        """Return all objects of a kind."""
        return [one for one in self.world if one["kind"] == kind]

    def add(self, policy: Json) -> None:
        """Write down what one policy allows to each pod that it selects."""
        spec, namespace = policy["spec"], policy["metadata"]["namespace"]
        sides = spec.get("policyTypes") or ("Ingress", "Egress")[: 1 + bool(spec.get("egress"))]
        chosen = [
            pod
            for pod in filter(selected(spec["podSelector"]), self.of("Pod"))
            if pod["metadata"]["namespace"] == namespace
        ]
        for pod, side in itertools.product(chosen, sides):
            key = pod["metadata"]["name"], side
            found = self.allowed[key] or set()
            for rule in spec.get(side.lower()) or []:
                peers = rule.get("from" if side == "Ingress" else "to") or []
                who = set().union(*(self.meant(one, namespace) for one in peers))
                found |= set(self.triples(pod, side, who if peers else self.everybody, rule))
            self.allowed[key] = found

    def meant(self, peer: Json, namespace: str) -> set[str]:
        """Return the addresses that a peer of a policy stands for."""
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            out = set().union(*(self.within(one) for one in block.get("except") or []))
            return self.within(block["cidr"]) - out
        near = {namespace}
        if "namespaceSelector" in peer:
            named = [
                {"metadata": {"name": one["metadata"]["name"], "labels": one["metadata"]["labels"]
                 | {"kubernetes.io/metadata.name": one["metadata"]["name"]}}}
                for one in self.of("Namespace")
            ]  # fmt: skip
            kept = filter(selected(peer["namespaceSelector"]), named)
            near = {one["metadata"]["name"] for one in kept}
        fits = selected(peer.get("podSelector", {}))
        return {
            address
            for address, pod in self.owner.items()
            if pod["metadata"]["namespace"] in near and fits(pod)
        }

    def within(self, cidr: str) -> set[str]:
        """Return the known addresses whose first bits are a network's."""
        network, _, length = cidr.partition("/")
        first = bits(network)[: int(length)]
        return {
            one
            for one in self.everybody
            if (":" in one) == (":" in network) and bits(one).startswith(first)
        }

    def triples(self, pod: Json, side: str, who: set[str], rule: Json) -> Iterator[Triple]:
        """Yield what a rule allows to one pod, for these addresses."""
        for address, (protocol, number) in itertools.product(who, WAYS):
            server = pod if side == "Ingress" else self.owner.get(address)
            offered = server["spec"]["containers"][0]["ports"] if server else []
            if any(
                port.get("protocol", "TCP") == protocol
                and number in numbers(port, protocol, offered)
                for port in rule.get("ports") or [{"protocol": protocol}]
            ):
                yield address, protocol, number

    def always(self, client: str, server: str) -> bool:
        """Say whether no policy can forbid it: a pod to itself, a node and its own pods."""
        source, target = self.owner.get(client), self.owner.get(server)
        near = self.home(client) == self.home(server)
        both_known = self.home(client) and self.home(server)
        return bool(both_known and near and (source is target or source is None or target is None))

    def leaves(self, client: str, server: str, way: Way) -> bool:
        """Look a connection up at the client's side."""
        pod = self.owner.get(client)
        found = self.allowed[pod["metadata"]["name"], "Egress"] if pod else None
        return found is None or self.always(client, server) or (server, *way) in found

    def enters(self, client: str, server: str, way: Way) -> bool:
        """Look a connection up at the server's side."""
        pod = self.owner.get(server)
        found = self.allowed[pod["metadata"]["name"], "Ingress"] if pod else None
        return found is None or self.always(client, server) or (client, *way) in found

    def open(self, client: str, called: str, way: Way) -> bool:
        """Look up a connection to an address, a Service's or a NodePort's perhaps."""
        for service in self.of("Service") if way[0] == "TCP" else []:
            (port,) = service["spec"]["ports"]
            by_node = way[1] == port.get("nodePort") and called in itertools.chain(*NODES.values())
            if by_node or (called in service["spec"]["clusterIPs"] and way[1] == port["port"]):
                ends = self.behind(service, called)
                node = called if by_node else None
                return bool(ends) and all(self.led(client, node, way, end) for end in ends)
        return self.leaves(client, called, way) and self.enters(client, called, way)

    def led(self, client: str, node: str | None, way: Way, end: tuple[str, Way]) -> bool:
        """Say how a Service's connection fares: who is not at a NodePort's node sees that alone."""
        server, own = end
        knows_server = node is None or self.home(client) == self.home(node)
        knows_client = node is None or self.home(server) == self.home(node)
        goes_to = (server, own) if knows_server else (node or "", way)
        comes_from = client if knows_client else node or ""
        return self.leaves(client, *goes_to) and self.enters(comes_from, server, own)

    def behind(self, service: Json, called: str) -> list[tuple[str, Way]]:
        """Return the ready ends behind a Service, of the family that was called."""
        (port,) = service["spec"]["ports"]
        wanted, selector = port["targetPort"], service["spec"]["selector"]
        found = []
        for address, pod in self.owner.items():
            named = {
                one["name"]: one["containerPort"]
                for one in pod["spec"]["containers"][0]["ports"]
                if one["protocol"] == "TCP"
            }
            number = named.get(wanted, 0) if isinstance(wanted, str) else wanted
            near = pod["metadata"]["namespace"] == service["metadata"]["namespace"]
            fits = selector and selected({"matchLabels": selector})(pod)
            ready = pod["status"]["conditions"][0]["status"] == "True"
            if number and near and fits and ready and (":" in address) == (":" in called):
                found.append((address, ("TCP", number)))
        return found

    def home(self, address: str) -> str | None:
        """Return whose node an address is of."""
        if address in self.owner:
            return str(self.owner[address]["spec"]["nodeName"])
        return next((name for name, found in NODES.items() if address in found), None)


def numbers(port: Json, protocol: str, offered: list[Json]) -> set[int]:
    """Return the numbers that a port of a rule stands for, at a server that offers these."""
    wanted: int | str | None = port.get("port")
    if wanted is None:
        return {number for _, number in WAYS}
    if isinstance(wanted, str):
        same = [one for one in offered if (one["name"], one["protocol"]) == (wanted, protocol)]
        return {one["containerPort"] for one in same}
    return set(range(int(wanted), int(port.get("endPort", wanted)) + 1))


def selected(selector: Json) -> Callable[[Json], bool]:
    """Return what says whether an object's labels meet a LabelSelector."""
    tests: list[Callable[[Mapping[str, str]], bool]] = [
        lambda marks, key=key, value=value: (key, value) in marks.items()  # type: ignore[misc]
        for key, value in selector.get("matchLabels", {}).items()
    ]
    tests += [
        meets(one["key"], one["operator"], one.get("values", []))
        for one in selector.get("matchExpressions", [])
    ]
    return lambda item: all(test(item["metadata"]["labels"]) for test in tests)


def meets(key: str, operator: str, values: list[str]) -> Callable[[Mapping[str, str]], bool]:
    """Return what says whether labels meet one requirement."""
    among: dict[str, set[str | None]] = {
        "In": set(values),
        "NotIn": {None, "x", "y", "z", *NAMESPACES} - set(values),
        "Exists": {"x", "y", "z", *NAMESPACES},
        "DoesNotExist": {None},
    }
    return lambda marks: marks.get(key) in among[operator]


def bits(address: str) -> str:
    """Write an address down bit by bit."""
    if ":" not in address:
        return "".join(f"{int(part):08b}" for part in address.split("."))
    left, _, right = address.partition("::")
    heads, tails = [part for part in left.split(":") if part], [p for p in right.split(":") if p]
    parts = [*heads, *["0"] * (8 - len(heads) - len(tails)), *tails]
    return "".join(f"{int(part, 16):016b}" for part in parts)


# --- both ---------------------------------------------------------------------------------------


def questions(reading: Reading, seed: int) -> list[tuple[str, str, Way]]:
    """Draw connections; to Services and NodePorts everything, for these are few."""
    known = sorted(reading.everybody)
    fronts = [one for service in reading.of("Service") for one in service["spec"]["clusterIPs"]]
    doors = [
        *itertools.product(fronts, [("TCP", SERVICE_PORT)]),
        *itertools.product(itertools.chain(*NODES.values()), [("TCP", NODE_PORT)]),
    ]
    pairs = random.Random(seed).sample([*itertools.product(known, known, WAYS)], QUESTIONS)
    every = [*pairs, *((client, *door) for client, door in itertools.product(known, doors))]
    return [one for one in every if (":" in one[0]) == (":" in one[1])]


@settings(
    deadline=None,
    max_examples=CLUSTERS,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(worlds, st.integers(0, 2**32))
def test_two_readings_of_the_specification_agree(world: list[Json], seed: int) -> None:
    """Whatever is asked, the oracle says what is written down when one starts at the policies."""
    oracle, reading = Oracle(world), Reading(world)

    for client, server, (protocol, number) in questions(reading, seed):
        judged = oracle.judge(client, server, number, protocol)
        written = reading.open(client, server, (protocol, number))
        assert judged.allowed == written, (client, server, protocol, number, str(judged))
