"""What policies mean for the pods of one node: the documented five, and what is easily wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

from enforcer.kube.decode import decode_object
from enforcer.model.changes import Kind, Put, Removed, Replaced
from enforcer.model.net import PortRange, Protocol
from enforcer.model.objects import Key
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass

Json = dict[str, Any]

A1, A2, A3 = "10.1.0.1", "10.1.0.2", "10.2.0.3"
B1, D1, HOST = "10.1.0.11", "10.1.0.21", "192.168.0.1"


def pod(namespace: str, name: str, address: str, **more: Any) -> Json:
    """Make a running pod on n1, or on n2 for addresses in 10.2.0.0/16."""
    labels = more.pop("labels", {"app": name[0]})
    ports = more.pop("ports", [])
    spec = {"nodeName": "n2" if address.startswith("10.2.") else "n1", **more}
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {**spec, "containers": [{"ports": ports}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


PODS = (
    pod("nsa", "a1", A1),
    pod("nsa", "a2", A2),
    pod("nsa", "a3", A3),
    pod("nsb", "b1", B1),
    pod("default", "d1", D1),
    pod("nsb", "host", HOST, hostNetwork=True),
)
NAMESPACES = tuple(
    {"metadata": {"name": name, "labels": {"app": name}}} for name in ("nsa", "nsb", "default")
)
NODE = {
    "metadata": {"name": "n1"},
    "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]},
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": "192.168.0.1"},
            {"type": "Hostname", "address": "n1"},
        ]
    },
}


def policy(namespace: str, name: str = "np", **spec: Any) -> Json:
    """Make a policy that selects every pod of its namespace unless ``spec`` says otherwise."""
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"podSelector": {}, **spec}}


def decoded(kind: Kind, items: Iterable[Json]) -> Replaced:
    """Make a list out of manifests."""
    return Replaced(kind, tuple(decode_object(kind, json.dumps(item).encode()) for item in items))


def cluster_with(*policies: Json, pods: Iterable[Json] = PODS) -> Cluster:
    """List everything at once."""
    cluster = Cluster()
    cluster.apply(decoded(Kind.PODS, pods))
    cluster.apply(decoded(Kind.NAMESPACES, NAMESPACES))
    cluster.apply(decoded(Kind.NODES, [NODE]))
    cluster.apply(decoded(Kind.POLICIES, policies))
    return cluster


def compiled(*policies: Json, pods: Iterable[Json] = PODS) -> CompiledPolicy:
    """Compile n1."""
    return compile_node(cluster_with(*policies, pods=pods), "n1")


def local(found: CompiledPolicy, name: str) -> LocalPod:
    """Return a pod of the node."""
    return next(item for item in found.pods if item.key.name == name)


def ingress(found: CompiledPolicy, name: str = "a1") -> Allowed:
    """Return what an isolated pod may receive."""
    its_class = local(found, name).ingress
    assert its_class is not None
    return its_class.allowed


def egress(found: CompiledPolicy, name: str = "a1") -> Allowed:
    """Return what an isolated pod may send."""
    its_class = local(found, name).egress
    assert its_class is not None
    return its_class.allowed


def tcp(first: int, last: int | None = None) -> PortRange:
    """Make a range of TCP ports, or a single one."""
    return PortRange(Protocol.TCP, first, last or first)


# --- the documented policies ---------------------------------------------------------------------


def test_policy_1_lets_the_namespace_in_and_nobody_else() -> None:
    """The pods of nsa reach one another on every port; nobody else reaches them."""
    found = compiled(
        policy("nsa", ingress=[{"from": [{"podSelector": {}}]}], policyTypes=["Ingress"])
    )

    assert ingress(found) == Allowed(peers=frozenset(map(ip_address, (A1, A2, A3))))
    assert local(found, "a1").egress is None
    assert local(found, "b1") == LocalPod(Key("nsb", "b1"), (ip_address(B1),))


def test_policy_2_lets_nobody_in() -> None:
    """A policy without rules isolates and allows nothing."""
    found = compiled(policy("nsa", policyTypes=["Ingress"]))

    assert ingress(found) == Allowed()
    assert local(found, "a1").egress is None


def test_policy_3_lets_a_labelled_namespace_in_on_one_port() -> None:
    """Only pods of namespaces with app=nsb come in, on 6379/TCP; hostNetwork pods are no peers."""
    peer = {"namespaceSelector": {"matchLabels": {"app": "nsb"}}}
    rule = {"from": [peer], "ports": [{"protocol": "TCP", "port": 6379}]}
    found = compiled(policy("nsa", ingress=[rule], policyTypes=["Ingress"]))

    assert ingress(found) == Allowed(peer_ports=frozenset({(ip_address(B1), Protocol.TCP, 6379)}))


def test_policy_4_lets_out_to_a_network_on_one_port() -> None:
    """The pods of nsa reach 14.215.0.0/16 on 5978/TCP and nothing else; they may be reached."""
    rule = {
        "to": [{"ipBlock": {"cidr": "14.215.0.0/16"}}],
        "ports": [{"protocol": "TCP", "port": 5978}],
    }
    found = compiled(policy("nsa", egress=[rule], policyTypes=["Egress"]))

    network = ip_network("14.215.0.0/16")
    assert egress(found) == Allowed(network_ports=frozenset({(network, tcp(5978))}))
    assert local(found, "a1").ingress is None


def test_policy_5_lets_a_network_in_on_one_port() -> None:
    """The pods of default are reached from 14.215.0.0/16 on 80/TCP and by nobody else."""
    rule = {
        "from": [{"ipBlock": {"cidr": "14.215.0.0/16"}}],
        "ports": [{"protocol": "TCP", "port": 80}],
    }
    found = compiled(policy("default", "npd", ingress=[rule], policyTypes=["Ingress"]))

    network = ip_network("14.215.0.0/16")
    assert ingress(found, "d1") == Allowed(network_ports=frozenset({(network, tcp(80))}))
    assert local(found, "a1").ingress is None


# --- what a node gets ----------------------------------------------------------------------------


def test_a_node_gets_its_own_pods_alone() -> None:
    """Pods of other nodes, pods on the host's network and pods without addresses are left out."""
    waiting = pod("nsa", "waiting", "10.1.0.9")
    waiting["status"] = {"phase": "Pending"}
    finished = pod("nsa", "finished", "10.1.0.10")
    finished["status"]["phase"] = "Succeeded"

    found = compiled(pods=(*PODS, waiting, finished))

    assert [item.key.name for item in found.pods] == ["d1", "a1", "a2", "b1"]
    assert found.pod_networks == (ip_network("10.1.0.0/24"), ip_network("fd00:1::/64"))
    assert found.node_addresses == {ip_address("192.168.0.1")}
    assert found.problems == ()


def test_pods_with_the_same_policies_share_a_class() -> None:
    """Two pods that the same policies select have one class, the same object."""
    found = compiled(policy("nsa", ingress=[{}]))

    assert local(found, "a1").ingress is local(found, "a2").ingress


def test_a_class_names_its_policies_in_order() -> None:
    """A class names the policies that isolate in its direction, sorted."""
    both = policy("nsa", "b", policyTypes=["Ingress", "Egress"])
    found = compiled(both, policy("nsa", "a"), policy("nsa", "c", policyTypes=["Egress"]))

    assert local(found, "a1").ingress == PolicyClass(
        local(found, "a1").ingress.direction,  # type: ignore[union-attr]  # isolated above
        (Key("nsa", "a"), Key("nsa", "b")),
        Allowed(),
    )


def test_rules_of_all_policies_add_up() -> None:
    """What one policy allows, no other policy takes away."""
    closed = policy("nsa", "closed")
    opened = policy("nsa", "open", ingress=[{"ports": [{"port": 80}]}, {"ports": [{"port": 81}]}])

    assert ingress(compiled(closed, opened)) == Allowed(ports=frozenset({tcp(80, 81)}))


def test_a_rule_without_peers_and_ports_allows_everything() -> None:
    """Whatever else is allowed then goes without saying."""
    found = compiled(policy("nsa", ingress=[{}, {"from": [{"podSelector": {}}]}]))

    assert ingress(found) == Allowed(everything=True)


def test_the_same_peer_means_other_pods_in_another_namespace() -> None:
    """A podSelector alone speaks of the policy's own namespace, in every policy anew."""
    own: list[Json] = [{"from": [{"podSelector": {}}]}]
    found = compiled(policy("nsa", ingress=own), policy("nsb", ingress=own))

    assert ingress(found, "a1").peers == set(map(ip_address, (A1, A2, A3)))
    assert ingress(found, "b1").peers == {ip_address(B1)}


def test_both_selectors_of_a_peer_must_match() -> None:
    """Two selectors in one peer are an AND, in two peers they are an OR."""
    apps = {"podSelector": {"matchLabels": {"app": "b"}}}
    spaces = {"namespaceSelector": {"matchLabels": {"app": "nsa"}}}

    together = compiled(policy("nsb", ingress=[{"from": [{**apps, **spaces}]}]))
    apart = compiled(policy("nsb", ingress=[{"from": [apps, spaces]}]))

    assert ingress(together, "b1") == Allowed()
    assert ingress(apart, "b1").peers == set(map(ip_address, (A1, A2, A3, B1)))


def test_the_name_label_of_a_namespace_is_always_there() -> None:
    """A namespace is selected by kubernetes.io/metadata.name, whatever labels it has."""
    by_name = {"matchLabels": {"kubernetes.io/metadata.name": "nsb"}}
    found = compiled(policy("nsa", ingress=[{"from": [{"namespaceSelector": by_name}]}]))

    assert ingress(found).peers == {ip_address(B1)}


def test_a_namespace_label_change_takes_effect() -> None:
    """Peers come and go with the labels of their namespace."""
    peer = {"namespaceSelector": {"matchLabels": {"team": "x"}}}
    cluster = cluster_with(policy("nsa", ingress=[{"from": [peer]}]))
    before = ingress(compile_node(cluster, "n1"))
    labelled = {"metadata": {"name": "nsb", "labels": {"team": "x"}}}

    item = decode_object(Kind.NAMESPACES, json.dumps(labelled).encode())
    cluster.apply(Put(item))

    assert before.peers == frozenset()
    assert ingress(compile_node(cluster, "n1")).peers == {ip_address(B1)}


def test_a_pod_that_goes_is_no_peer_any_more() -> None:
    """Asking in between changes nothing about that."""
    cluster = cluster_with(policy("nsa", ingress=[{"from": [{"podSelector": {}}]}]))
    compile_node(cluster, "n1")

    cluster.apply(Removed(Kind.PODS, Key("nsa", "a2")))

    assert ingress(compile_node(cluster, "n1")).peers == {ip_address(A1), ip_address(A3)}


# --- blocks and ports ----------------------------------------------------------------------------


def test_excepts_are_taken_out_of_a_block() -> None:
    """Blocks come out as networks with the excepts subtracted; blocks of a union are merged."""
    block = {"cidr": "10.0.0.0/30", "except": ["10.0.0.1/32"]}
    found = compiled(policy("nsa", ingress=[{"from": [{"ipBlock": block}]}]))
    again = {"ipBlock": {"cidr": "10.0.0.1/32"}}
    merged = compiled(policy("nsa", ingress=[{"from": [{"ipBlock": block}, again]}]))

    parts = {ip_network(text) for text in ("10.0.0.0/32", "10.0.0.2/31")}
    assert ingress(found) == Allowed(networks=frozenset(parts))
    assert ingress(merged) == Allowed(networks=frozenset({ip_network("10.0.0.0/30")}))


def test_a_port_range_makes_networks_of_pods() -> None:
    """Peers on a range of ports stay one address each, but for those inside a block."""
    rule = {
        "from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.1.0.0/30"}}],
        "ports": [{"port": 80, "endPort": 90}],
    }
    found = compiled(policy("nsa", ingress=[rule]))

    expected = {(ip_network(text), tcp(80, 90)) for text in ("10.1.0.0/30", f"{A3}/32")}
    assert ingress(found) == Allowed(network_ports=frozenset(expected))


def test_overlapping_port_ranges_are_cut() -> None:
    """Entries of networks and ports never overlap, whatever ranges the rules name."""
    wide = {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80, "endPort": 90}]}
    narrow = {
        "from": [{"ipBlock": {"cidr": "10.9.0.0/16"}}, {"ipBlock": {"cidr": "11.0.0.0/8"}}],
        "ports": [{"port": 85}],
    }
    found = compiled(policy("nsa", ingress=[wide, narrow]))

    ten, both = ip_network("10.0.0.0/8"), ip_network("10.0.0.0/7")
    expected = {(ten, tcp(80, 84)), (both, tcp(85)), (ten, tcp(86, 90))}
    assert ingress(found) == Allowed(network_ports=frozenset(expected))


def test_a_protocol_without_port_is_every_port_of_it() -> None:
    """And of no other protocol; ICMP has no ports and is not in it."""
    found = compiled(policy("nsa", ingress=[{"ports": [{"protocol": "UDP"}]}]))

    assert ingress(found) == Allowed(ports=frozenset({PortRange(Protocol.UDP, 0, 65535)}))


def test_named_ports_of_ingress_are_the_pods_own() -> None:
    """Two pods under the same policy that number a name differently have different classes."""
    pods = (
        pod("nsa", "a1", A1, ports=[{"name": "web", "containerPort": 8080}]),
        pod("nsa", "a2", A2, ports=[{"name": "web", "containerPort": 80}]),
        pod("nsa", "a4", "10.1.0.4"),
    )
    found = compiled(policy("nsa", ingress=[{"ports": [{"port": "web"}]}]), pods=pods)

    assert ingress(found, "a1") == Allowed(ports=frozenset({tcp(8080)}))
    assert ingress(found, "a2") == Allowed(ports=frozenset({tcp(80)}))
    assert ingress(found, "a4") == Allowed()


def test_named_ports_of_egress_are_each_peers_own() -> None:
    """A named port leads to the number that the server gives it, also inside a block."""
    pods = (
        pod("nsa", "a1", A1),
        pod("nsa", "a2", A2, ports=[{"name": "web", "containerPort": 80}]),
        pod("nsb", "b1", B1, ports=[{"name": "web", "containerPort": 8080}]),
    )
    anywhere = policy("nsa", egress=[{"ports": [{"port": "web"}]}], policyTypes=["Egress"])
    rule = {"to": [{"ipBlock": {"cidr": "10.1.0.8/29"}}], "ports": [{"port": "web"}]}
    inside = policy("nsa", egress=[rule], policyTypes=["Egress"])

    web2 = (ip_address(A2), Protocol.TCP, 80)
    web_b = (ip_address(B1), Protocol.TCP, 8080)
    assert egress(compiled(anywhere, pods=pods)).peer_ports == {web2, web_b}
    assert egress(compiled(inside, pods=pods)).peer_ports == {web_b}


# --- what cannot be understood -------------------------------------------------------------------


def test_a_broken_policy_denies_the_pods_that_it_selects() -> None:
    """It allows nothing of what it says, isolates as it says, and is named; others add up."""
    broken = policy(
        "nsa",
        "broken",
        podSelector={"matchLabels": {"app": "a"}},
        ingress=[{}, {"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}],
    )
    found = compiled(broken)
    helped = compiled(broken, policy("nsa", "help", ingress=[{"ports": [{"port": 80}]}]))

    assert ingress(found) == Allowed()
    assert local(found, "a1").egress is None
    assert ingress(helped) == Allowed(ports=frozenset({tcp(80)}))
    assert [problem.subject for problem in found.problems] == [Key("nsa", "broken")]
    assert "spec.ingress[1].from[0].ipBlock" in found.problems[0].message


def test_a_broken_selector_denies_its_whole_namespace() -> None:
    """Where podSelector cannot be read, every pod of the namespace is denied in both directions."""
    selector = {"matchExpressions": [{"key": "app", "operator": "Like", "values": ["a"]}]}
    found = compiled(policy("nsa", podSelector=selector, ingress=[{}], policyTypes=["Ingress"]))

    assert (ingress(found), egress(found)) == (Allowed(), Allowed())
    assert local(found, "b1").ingress is None


def test_a_broken_pod_is_denied_and_is_nobodys_peer() -> None:
    """Its labels are unknown: any policy might select it, and none may count on it."""
    broken = pod("nsa", "a2", A2, labels={"app": 7})
    rule: list[Json] = [{"from": [{"podSelector": {}}]}]
    found = compiled(policy("nsa", ingress=rule), pods=(PODS[0], broken))

    assert (ingress(found, "a2"), egress(found, "a2")) == (Allowed(), Allowed())
    assert ingress(found, "a1").peers == {ip_address(A1)}
    assert [(problem.kind, problem.subject.name) for problem in found.problems] == [
        (Kind.PODS, "a2")
    ]


def test_two_pods_with_one_address_get_what_both_may() -> None:
    """Until it is clear whose the address is, it is allowed no more than either pod, once."""
    newer = pod("nsb", "b9", A1)
    found = compiled(policy("nsa", ingress=[{"ports": [{"port": 80}]}]), pods=(*PODS, newer))
    other = policy("nsb", ingress=[{"ports": [{"port": 443}]}])
    split = compiled(policy("nsa", ingress=[{}]), other, pods=(*PODS, newer))

    assert [item.key.name for item in found.pods if ip_address(A1) in item.addresses] == ["a1"]
    assert ingress(found) == Allowed(ports=frozenset({tcp(80)}))
    assert ingress(split) == Allowed()
    assert found.problems[0].subject == Key("nsb", "b9")


def test_a_node_that_is_not_there_is_a_problem() -> None:
    """Without its Node, unknown pods cannot be told from others: that is said."""
    found = compile_node(cluster_with(), "n7")

    assert found.pod_networks == ()
    assert [problem.kind for problem in found.problems] == [Kind.NODES]
