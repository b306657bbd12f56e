"""The rules that the model of kube-router 0.2.0 makes of a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from harness.enforcers import iptables
from harness.enforcers.kube_router_model.kernel import rules_script, sets_script
from harness.enforcers.kube_router_model.layout import IpSet, Layout, layout
from harness.enforcers.kube_router_model.world import World, matches

Object = dict[str, Any]


def pod(name: str, address: str, **more: Any) -> Object:
    """Return a pod of namespace x on node n1, unless told otherwise."""
    port = {"name": "web", "containerPort": more.get("web", 80)}
    return {
        "metadata": {"namespace": "x", "name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": more.get("node", "n1"),
            "hostNetwork": more.get("host", False),
            "containers": [{"ports": [port]}],
        },
        "status": {"podIP": address, "phase": more.get("phase", "Running")},
    }


def policy(app: str, **spec: Any) -> Object:
    """Return a policy that selects the pods of one app."""
    selector = {"podSelector": {"matchLabels": {"app": app}}}
    return {"metadata": {"namespace": "x", "name": f"for-{app}"}, "spec": selector | spec}


PODS = (
    pod("a", "10.1.0.2"),
    pod("b", "10.1.0.3", web=8080),
    pod("c", "10.2.0.2", node="n2"),
    pod("host", "192.0.2.1", host=True),
    pod("done", "10.1.0.9", phase="Succeeded"),
)
SPACES = ({"metadata": {"name": "x", "labels": {"team": "one"}}},)


def laid_out(*policies: Object) -> Layout:
    """Return the layout of node n1."""
    return layout(World.of(PODS, SPACES, policies), "n1")


def plain(rules: tuple[str, ...]) -> list[str]:
    """Return rules without their comments and with sets' names shortened to their prefix."""
    words = (rule.split('"')[::2] for rule in rules)
    joined = (" ".join("".join(one).replace("-m comment --comment", "").split()) for one in words)
    return [" ".join(w[:8] if w.startswith("KUBE-") else w for w in one.split()) for one in joined]


def chain_of(made: Layout, prefix: str) -> list[str]:
    """Return the rules of the only chain whose name begins so."""
    (chain,) = (body for name, body in made.chains.items() if name.startswith(prefix))
    return plain(chain)


def members(made: Layout) -> set[tuple[str, ...]]:
    """Return what the sets hold."""
    return {one.members for one in made.sets.values()}


def test_an_isolated_pod_has_a_chain_that_ends_with_a_reject() -> None:
    """Replies, then the own node, then a jump for each policy, then no."""
    made = laid_out(policy("a", policyTypes=["Ingress"]))

    assert chain_of(made, "KUBE-POD-FW-") == [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-m addrtype --src-type LOCAL -d 10.1.0.2 -j ACCEPT",
        "-j KUBE-NWP",
        "-j REJECT",
    ]


@pytest.mark.parametrize(
    ("types", "jumps"),
    [
        (
            ["Ingress"],
            [
                "FORWARD -d 10.1.0.2 -j KUBE-POD",
                "FORWARD -m physdev --physdev-is-bridged -d 10.1.0.2 -j KUBE-POD",
                "OUTPUT -d 10.1.0.2 -j KUBE-POD",
            ],
        ),
        (
            ["Egress"],
            [
                "FORWARD -s 10.1.0.2 -j KUBE-POD",
                "FORWARD -m physdev --physdev-is-bridged -s 10.1.0.2 -j KUBE-POD",
            ],
        ),
    ],
)
def test_jumps_are_by_address_and_egress_has_none_in_output(
    types: list[str], jumps: list[str]
) -> None:
    """Which is why Service traffic that leaves by OUTPUT is not asked for its client's egress."""
    assert plain(laid_out(policy("a", policyTypes=types)).jumps) == jumps


def test_egress_is_asked_before_ingress() -> None:
    """The order in which 0.2.0's rules stand: so an egress ACCEPT is the end of the way."""
    made = laid_out(policy("a", policyTypes=["Ingress"]), policy("b", policyTypes=["Egress"]))

    assert [("-s" in jump.split()) for jump in made.jumps] == [True, True, False, False, False]


def test_pods_of_other_nodes_have_no_chain_but_their_policies_do() -> None:
    """The sets of every policy are on every node."""
    made = laid_out(policy("c", policyTypes=["Ingress"]))

    assert [name[:12] for name in made.chains] == ["KUBE-NWPLCY-"]
    assert made.jumps == ()


@pytest.mark.parametrize("app", ["host", "done"])
def test_a_pod_without_an_address_of_its_own_is_not_selected(app: str) -> None:
    """Finished pods and pods on their host's network have none."""
    assert laid_out(policy(app, policyTypes=["Ingress"])).jumps == ()


def test_a_rule_matches_both_ends_protocol_and_port_and_accepts() -> None:
    """The ACCEPT is terminal."""
    peer = {"podSelector": {"matchLabels": {"app": "b"}}}
    made = laid_out(policy("a", ingress=[{"from": [peer], "ports": [{"port": 80}]}]))

    (rule,) = chain_of(made, "KUBE-NWPLCY-")
    assert rule == (
        "-m set --match-set KUBE-SRC src -m set --match-set KUBE-DST dst"
        " -p tcp -m tcp --dport 80 -j ACCEPT"
    )
    assert members(made) == {("10.1.0.2",), ("10.1.0.3",)}


def test_egress_matches_by_source_and_peers_by_destination() -> None:
    """The same chain, the other way round."""
    block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.9.0.0/16"]}}
    ports = [{"port": 53, "protocol": "UDP", "endPort": 60}]
    made = laid_out(policy("a", policyTypes=["Egress"], egress=[{"to": [block], "ports": ports}]))

    (rule,) = chain_of(made, "KUBE-NWPLCY-")
    assert rule == (
        "-m set --match-set KUBE-DST dst -m set --match-set KUBE-SRC src"
        " -p udp -m udp --dport 53:60 -j ACCEPT"
    )
    assert members(made) == {("10.1.0.2",), ("0.0.0.0/1", "128.0.0.0/1", "10.9.0.0/16 nomatch")}


def test_a_named_port_is_the_servers() -> None:
    """For egress the peers', each with its own number."""
    made = laid_out(
        policy("c", policyTypes=["Egress"], egress=[{"to": [{"podSelector": {}}], "ports": [WEB]}])
    )

    assert [rule.split("--dport ")[1] for rule in chain_of(made, "KUBE-NWPLCY-")] == [
        "80 -j ACCEPT",
        "8080 -j ACCEPT",
    ]


WEB = {"port": "web"}


@pytest.mark.parametrize(
    ("spec", "rules"),
    [
        ({"ingress": [{}]}, ["-m set --match-set KUBE-DST dst -j ACCEPT"]),
        ({"ingress": []}, []),
        ({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}]}, []),
    ],
)
def test_no_peers_are_all_no_rules_are_none(spec: Object, rules: list[str]) -> None:
    """An empty rule admits everybody; peers that select nobody admit nobody."""
    assert chain_of(laid_out(policy("a", **spec)), "KUBE-NWPLCY-") == rules


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["one", "two"], True),
        ("NotIn", ["one"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Unheard", [], False),
    ],
)
def test_expressions_are_read_by_the_book(operator: str, values: list[str], expected: bool) -> None:
    """What is wrong with the model is its layout alone."""
    selector = {"matchExpressions": [{"key": "team", "operator": operator, "values": values}]}

    assert matches(selector, {"team": "one"}) is expected


def test_a_sync_replaces_what_is_there_and_leaves_others_rules() -> None:
    """One transaction: old jumps go by their numbers, chains of gone pods with them."""
    have = iptables.parse(
        ":KUBE-POD-FW-OLD - [0:0]\n:OTHERS - [0:0]\n"
        "-A FORWARD -j OTHERS\n-A FORWARD -d 10.1.0.8/32 -j KUBE-POD-FW-OLD\n"
    )
    wanted = Layout({}, {"KUBE-POD-FW-NEW": ("-j REJECT",)}, ("FORWARD -d 1 -j A", "FORWARD -d 2"))

    assert rules_script(wanted, have).splitlines() == [
        "*filter",
        ":KUBE-POD-FW-NEW - [0:0]",
        "-D FORWARD 2",
        "-A KUBE-POD-FW-NEW -j REJECT",
        "-I FORWARD 1 -d 2",
        "-I FORWARD 1 -d 1 -j A",
        "-F KUBE-POD-FW-OLD",
        "-X KUBE-POD-FW-OLD",
        "COMMIT",
    ]


def test_a_set_is_filled_beside_and_swapped_in() -> None:
    """At no moment does it hold less than the old or the new members."""
    wanted = Layout({"S": IpSet("hash:net", ("10.0.0.0/8", "10.1.0.0/16 nomatch"))}, {}, ())

    assert sets_script(wanted).splitlines() == [
        "create S hash:net timeout 0",
        "create S- hash:net timeout 0",
        "flush S-",
        "add S- 10.0.0.0/8 timeout 0",
        "add S- 10.1.0.0/16 timeout 0 nomatch",
        "swap S S-",
        "destroy S-",
    ]
