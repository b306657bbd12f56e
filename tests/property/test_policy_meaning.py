"""What a compiled node allows is what the raw manifests say, on clusters that nobody thought of.

The judge here reads the JSON itself, one question at a time, and shares nothing with the compiler.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.kube.decode import decode_object
from enforcer.model.changes import Kind, Put, Removed, Replaced, Unreadable, key_of
from enforcer.model.net import Direction, IPAddress, Protocol
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import NodeCompiler, compile_node
from enforcer.policy.compiled import Allowed, LocalPod, PolicyClass
from tests.property import drawn
from tests.property.drawn import NAMESPACES, Json, labels

World = dict[Kind, list[Json]]

NODES = ("n1", "n2")
OUTSIDE = ("14.215.0.10", "14.216.0.10", "10.0.0.200", "2001:db8::7", "fd00::ffff")
PORTS = (0, 1, 79, 80, 81, 90, 443, 8080, 65535)
PROTOCOLS = ("TCP", "UDP", "SCTP", "ICMP")

# --- clusters ---------------------------------------------------------------------------------

named_ports = st.fixed_dictionaries(
    {
        "name": st.sampled_from(("http", "dns")),
        "containerPort": st.sampled_from((80, 81, 8080)),
        "protocol": st.sampled_from(("TCP", "UDP")),
    }
)


def pods(index: int) -> st.SearchStrategy[Json]:
    """Pod number ``index``, whose addresses are its own."""
    addresses = [f"10.0.0.{index}", f"fd00::{index}"]
    return st.builds(
        lambda namespace, node, marks, host, phase, ips, ports: {
            "metadata": {"namespace": namespace, "name": f"p{index}", "labels": marks},
            "spec": {"nodeName": node, "hostNetwork": host, "containers": [{"ports": ports}]},
            "status": {"phase": phase, "podIPs": [{"ip": ip} for ip in addresses[:ips]]},
        },
        st.sampled_from(NAMESPACES),
        st.sampled_from(NODES),
        labels,
        st.sampled_from((False,) * 7 + (True,)),
        st.sampled_from(("Running",) * 6 + ("Succeeded", "Failed")),
        st.sampled_from((1, 2, 2, 2, 0)),
        st.lists(named_ports, min_size=1, max_size=2),
    )


blocks: drawn.Some = st.sampled_from(
    (
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "14.216.0.0/16"]},
        {"cidr": "10.0.0.0/29", "except": ["10.0.0.3/32"]},
        {"cidr": "10.0.0.5/30"},
        {"cidr": "14.215.0.0/16", "except": []},
        {"cidr": "::/0", "except": ["fd00::/126", "fd00::/127"]},
        {"cidr": "fd00::4/126"},
    )
)


def policies(index: int) -> st.SearchStrategy[Json]:
    """A policy; ``index`` tells it from the others."""
    return drawn.policies(index, drawn.peers(blocks))


def namespaces(name: str) -> st.SearchStrategy[Json]:
    """A namespace with some labels."""
    return st.builds(lambda marks: {"metadata": {"name": name, "labels": marks}}, labels)


nodes = [
    {"metadata": {"name": name}, "spec": {"podCIDR": f"10.{index}.0.0/24"}}
    for index, name in enumerate(NODES)
]
worlds = st.fixed_dictionaries(
    {
        Kind.PODS: st.tuples(*map(pods, range(1, 7))).map(list),
        Kind.NAMESPACES: st.tuples(*map(namespaces, NAMESPACES)).map(list),
        Kind.NODES: st.just(nodes),
        Kind.POLICIES: st.tuples(*map(policies, range(4))).map(list),
    }
)


def decoded(kind: Kind, item: Json) -> Any:
    """Decode an object that can be understood."""
    found = decode_object(kind, json.dumps(item).encode())
    assert not isinstance(found, Unreadable)
    return found


def cluster_of(world: World) -> Cluster:
    """List everything at once."""
    cluster = Cluster()
    for kind, items in world.items():
        cluster.apply(Replaced(kind, tuple(decoded(kind, item) for item in items)))
    return cluster


# --- the judge: raw JSON, one connection at a time ---------------------------------------------


def selects(selector: Json, marks: Json) -> bool:
    """Judge a LabelSelector."""
    if any(marks.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        present = expression["key"] in marks
        listed = present and marks[expression["key"]] in expression.get("values", [])
        met = {"In": listed, "NotIn": not listed, "Exists": present, "DoesNotExist": not present}
        if not met[expression["operator"]]:
            return False
    return True


def owner(world: World, address: str) -> Json | None:
    """Find the pod that may be a peer and has this address."""
    for pod in world[Kind.PODS]:
        alive = pod["status"]["phase"] == "Running" and not pod["spec"]["hostNetwork"]
        if alive and {"ip": address} in pod["status"]["podIPs"]:
            return pod
    return None


def in_block(block: Json, address: str) -> bool:
    """Judge an ipBlock."""

    def inside(text: str) -> bool:
        return ipaddress.ip_address(address) in ipaddress.ip_network(text, strict=False)

    return inside(block["cidr"]) and not any(map(inside, block.get("except", [])))


def peer_matches(world: World, policy: Json, peer: Json, address: str) -> bool:
    """Judge one peer of a policy."""
    if "ipBlock" in peer:
        return in_block(peer["ipBlock"], address)
    pod = owner(world, address)
    if pod is None or not selects(peer.get("podSelector", {}), pod["metadata"]["labels"]):
        return False
    name = pod["metadata"]["namespace"]
    if "namespaceSelector" not in peer:
        return bool(name == policy["metadata"]["namespace"])
    found = next(ns for ns in world[Kind.NAMESPACES] if ns["metadata"]["name"] == name)
    marks = {**found["metadata"]["labels"], "kubernetes.io/metadata.name": name}
    return selects(peer["namespaceSelector"], marks)


def port_matches(port: Json, server: Json | None, protocol: str, number: int) -> bool:
    """Judge one port; ``server`` is the pod whose names count."""
    if port.get("protocol", "TCP") != protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return bool(wanted <= number <= port.get("endPort", wanted))
    offered = server["spec"]["containers"][0]["ports"] if server else []
    named = {"name": wanted, "protocol": protocol, "containerPort": number}
    return named in offered


def permitted(world: World, pod: Json, side: str, remote: str, on: tuple[str, int]) -> bool:
    """Say whether ``pod`` may be reached from (``Ingress``) or may reach ``remote``."""
    isolated = False
    for policy in world[Kind.POLICIES]:
        spec = policy["spec"]
        types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
        same = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        if not same or side not in types:
            continue
        if not selects(spec["podSelector"], pod["metadata"]["labels"]):
            continue
        isolated = True
        server = pod if side == "Ingress" else owner(world, remote)
        for rule in spec.get(side.lower()) or []:
            among = rule.get("from" if side == "Ingress" else "to")
            through = rule.get("ports")
            if (not among or any(peer_matches(world, policy, p, remote) for p in among)) and (
                not through or any(port_matches(p, server, *on) for p in through)
            ):
                return True
    return not isolated


# --- what the compiled value says ----------------------------------------------------------------


def allows(allowed: Allowed, remote: IPAddress, protocol: str, number: int) -> bool:
    """Ask a compiled value about one connection."""
    if allowed.everything or remote in allowed.peers:
        return True
    if any(remote in network for network in allowed.networks):
        return True
    if protocol == "ICMP":
        return False
    exact = (remote, Protocol(protocol), number) in allowed.peer_ports
    ranges = {ports for network, ports in allowed.network_ports if remote in network}
    return exact or any(
        (item.protocol.value == protocol and item.first <= number <= item.last)
        for item in allowed.ports | ranges
    )


def permits(found: PolicyClass | None, remote: str, protocol: str, number: int) -> bool:
    """Ask a class; no class means not isolated."""
    if found is None:
        return True
    return allows(found.allowed, ipaddress.ip_address(remote), protocol, number)


def local_pods(cluster: Cluster) -> dict[str, LocalPod]:
    """Compile every node and return all of their pods by name."""
    compiled = (compile_node(cluster, node) for node in NODES)
    return {pod.key.name: pod for node in compiled for pod in node.pods}


@settings(deadline=None, max_examples=100)
@given(worlds)
def test_a_node_allows_what_the_manifests_allow(world: World) -> None:
    """Every connection of every pod, in both directions, is judged as the manifests say."""
    found = local_pods(cluster_of(world))
    addresses = [ip["ip"] for pod in world[Kind.PODS] for ip in pod["status"]["podIPs"]]
    for pod in world[Kind.PODS]:
        if all(owner(world, ip["ip"]) is not pod for ip in pod["status"]["podIPs"]):
            assert pod["metadata"]["name"] not in found
            continue
        local = found[pod["metadata"]["name"]]
        for remote, protocol, number in itertools.product((*addresses, *OUTSIDE), PROTOCOLS, PORTS):
            for side, its_class in (("Ingress", local.ingress), ("Egress", local.egress)):
                expected = permitted(world, pod, side, remote, (protocol, number))
                assert permits(its_class, remote, protocol, number) == expected, (
                    pod["metadata"]["name"],
                    side,
                    remote,
                    protocol,
                    number,
                )


changes = st.lists(
    st.one_of(
        st.integers(1, 6).flatmap(pods).map(lambda item: (Kind.PODS, item)),
        st.sampled_from(NAMESPACES).flatmap(namespaces).map(lambda item: (Kind.NAMESPACES, item)),
        st.integers(0, 3).flatmap(policies).map(lambda item: (Kind.POLICIES, item)),
    ).flatmap(
        lambda change: st.sampled_from(("put", "remove", "list")).map(lambda v: (v, *change))
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=100)
@given(worlds, changes)
def test_the_way_does_not_matter(world: World, steps: list[tuple[str, Kind, Json]]) -> None:
    """A cluster that went through changes compiles to what a cluster made anew compiles to."""
    cluster = cluster_of(world)
    lasting = {node: NodeCompiler(cluster, node) for node in NODES}
    state = {kind: {key_of(decoded(kind, i)): i for i in items} for kind, items in world.items()}
    for verb, kind, item in steps:
        new = decoded(kind, item)
        lasting[NODES[0]].compile()  # an answer in between must not spoil later ones
        if verb == "remove":
            state[kind].pop(key_of(new), None)
            cluster.apply(Removed(kind, key_of(new)))
            continue
        state[kind][key_of(new)] = item
        listed = (decoded(kind, other) for other in state[kind].values())
        cluster.apply(Put(new) if verb == "put" else Replaced(kind, tuple(listed)))

    anew = cluster_of({kind: list(items.values()) for kind, items in state.items()})

    for node in NODES:
        assert compile_node(anew, node) == lasting[node].compile()


@settings(deadline=None, max_examples=100)
@given(worlds)
def test_interval_sets_never_overlap(world: World) -> None:
    """No two entries of an interval set overlap: the kernel would refuse them."""
    for pod in local_pods(cluster_of(world)).values():
        for found in filter(None, (pod.ingress, pod.egress)):
            assert_disjoint(found.allowed)


def assert_disjoint(allowed: Allowed) -> None:
    """Compare all pairs."""
    for one, other in itertools.combinations(allowed.networks, 2):
        assert not one.overlaps(other)
    for one_ports, other_ports in itertools.combinations(allowed.ports, 2):
        apart = one_ports.last + 1 < other_ports.first or other_ports.last + 1 < one_ports.first
        assert apart or one_ports.protocol is not other_ports.protocol
    for (network, on), (other_network, other_on) in itertools.combinations(
        allowed.network_ports, 2
    ):
        apart = on.last < other_on.first or other_on.last < on.first
        assert apart or on.protocol is not other_on.protocol or not network.overlaps(other_network)


def test_directions_are_named_as_the_judge_names_them() -> None:
    """The judge above knows two directions, and there are no others."""
    assert [direction.value for direction in Direction] == ["ingress", "egress"]
