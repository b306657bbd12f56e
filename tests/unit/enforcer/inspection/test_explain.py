"""``enforcer explain``: who decides, why the others did not, and what the kernel's sets say."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from enforcer import cli
from enforcer.errors import SettingsError
from enforcer.explain import Explanation, Live, explain
from enforcer.explained import lines
from enforcer.kube.dump import load_dump
from enforcer.model.net import Family
from enforcer.nft.objects import Ruleset
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from enforcer.ruleset.lower import lower
from enforcer.ruleset.names import IPV4
from enforcer.ruleset.options import LowerOptions, UnknownPods
from enforcer.wiring import NO_WIRING
from tests.unit.enforcer.inspection.worlds import WEB, policy, write


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return the small cluster."""
    return load_dump(write(tmp_path))


def kernel(cluster: Cluster, options: LowerOptions | None = None) -> Live:
    """Return node n1 with the tables that the cluster means."""
    tables = lower(
        compile_node(cluster, "n1"), NO_WIRING, dict.fromkeys(Family, 1), options or LowerOptions()
    )
    return Live("n1", tables)


def said(found: Explanation) -> str:
    """Return an explanation as a person reads it."""
    return "\n".join(lines(found))


def test_the_rule_that_allows_is_named(cluster: Cluster) -> None:
    """Policy, rule, peer and port that let the connection pass, and the set that has it."""
    found = explain(cluster, "shop/cli", "shop/web:80", kernel(cluster))

    assert found.answers[0].passes
    text = said(found)
    assert "allows  shop/from-cli rule 0: peer 0 (pods with app=cli of shop) has shop/cli" in text
    assert "found 10.1.0.3 . 6 . 80 in allow_in_" in text
    assert "DIFFERENCE" not in text


def test_why_each_rule_missed_is_said(cluster: Cluster) -> None:
    """The port of one rule, the peer of the other; and which policies stand aside."""
    text = said(explain(cluster, "shop/cli", "shop/web:81"))

    assert text.startswith("DENIED: shop/cli (10.1.0.3) to shop/web (10.1.0.2), TCP 81")
    assert "misses  shop/from-cli rule 0: ports: TCP 81 is not among TCP 80" in text
    assert "rule 1: peer 0: 10.1.0.3 is not in ipBlock 14.215.0.0/16" in text
    assert "aside   shop/others: podSelector: the pod has app=web, wanted app=db" in text
    assert "the kernel was not asked" in text


def test_a_named_port_is_the_servers(cluster: Cluster) -> None:
    """The name stands for the number that the destination pod gives it."""
    assert explain(cluster, "14.215.0.9", "shop/web:8080").answers[0].passes
    missed = explain(cluster, "14.215.0.9", "shop/web:80")

    assert not missed.answers[0].passes
    assert "TCP 'http' (at shop/web: 8080)" in said(missed)


def test_each_side_is_asked_at_its_own_node(cluster: Cluster) -> None:
    """A kernel knows the pods of its node; for the others it says where to ask."""
    found = explain(cluster, "shop/far", "shop/web:80", kernel(cluster))

    egress, ingress = found.answers[0].sides
    assert (egress.where, egress.walk) == ("n2", None)
    assert ingress.walk is not None
    assert "enforced on node n2: ask there" in said(found)


@pytest.mark.parametrize(
    ("client", "target", "why"),
    [
        ("node/n1", "shop/web:81", "always reaches its own pods"),
        ("shop/web", "192.0.2.1:22", "always reaches its own node"),
        ("shop/web", "shop/web:81", "always reaches itself"),
    ],
)
def test_what_is_always_open(cluster: Cluster, client: str, target: str, why: str) -> None:
    """The own node and the pod itself: no policy is asked."""
    found = explain(cluster, client, target, kernel(cluster))

    assert found.answers[0].passes
    assert why in said(found)


def test_another_node_is_a_peer_like_any_address(cluster: Cluster) -> None:
    """Only the own node is always allowed."""
    assert not explain(cluster, "node/n2", "shop/web:80").answers[0].passes


@pytest.mark.parametrize("setting", list(UnknownPods))
def test_an_unknown_pods_fate_is_the_kernels_to_tell(
    cluster: Cluster, setting: UnknownPods
) -> None:
    """An address of the pod range that no pod has: the setting decides, not a policy."""
    live = kernel(cluster, LowerOptions(unknown_pods=setting))

    found = explain(cluster, "14.215.0.9", "10.1.0.77:80", live)

    assert found.answers[0].passes is (setting is UnknownPods.ALLOW)
    assert found.answers[0].differences == ()


def tampered(live: Live, kind: str, **changes: Any) -> Live:
    """Return tables in which the sets whose name has ``kind`` in it are changed."""
    table = live.tables.tables[IPV4]
    sets = {
        name: replace(item, **changes) if kind in name else item
        for name, item in table.sets.items()
    }
    return Live(live.node, Ruleset({IPV4: replace(table, sets=sets)}))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("192.0.2.2:30080", "192.0.2.2 is node n2, and port 30080 may be a NodePort"),
        ("node/n2:32767/udp", "node/n2 is node n2, and port 32767 may be a NodePort"),
        ("10.96.0.10:53/udp", "10.96.0.10 is in the Service range 10.96.0.0/12"),
        ("203.0.113.7:443", "203.0.113.7 is no pod's and no node's; should it be a Service's"),
    ],
)
def test_who_asks_about_a_service_is_told_to_ask_about_its_backend(
    cluster: Cluster, target: str, words: str
) -> None:
    """One line for a NodePort, a ClusterIP and an address that may be a load balancer's."""
    found = explain(cluster, "shop/cli", target, services=[ip_network("10.96.0.0/12")])

    (note,) = (line for line in said(found).splitlines() if line.startswith("  note: "))
    assert words in note
    assert note.endswith("ask about the backend, NAMESPACE/POD:TARGETPORT")


@pytest.mark.parametrize(
    "target",
    ["192.0.2.2:29999", "192.0.2.2:32768", "192.0.2.2/icmp", "shop/web:30080", "10.1.0.77:80"],
)
def test_who_asks_about_a_backend_is_told_nothing_of_services(
    cluster: Cluster, target: str
) -> None:
    """A node's other ports, a pod at whatever port, and an address of the pod ranges."""
    found = explain(cluster, "shop/cli", target, services=[ip_network("10.96.0.0/12")])

    assert found.advice == ()


def test_the_service_range_is_taken_from_the_command_line(tmp_path: Path) -> None:
    """--service-cidr, as the daemon has it, also where a dump is asked."""
    argv = ["explain", "shop/cli", "10.96.0.10:53/udp", "-f", str(write(tmp_path)), "-o", "json"]

    result = CliRunner().invoke(cli.enforcer, [*argv, "--service-cidr=10.96.0.0/12"])

    (advice,) = json.loads(result.output)["advice"]
    assert "is in the Service range 10.96.0.0/12" in advice


def test_a_kernel_that_differs_is_shouted_about(cluster: Cluster) -> None:
    """An element that somebody took away: policies and kernel disagree, and it is said."""
    live = tampered(kernel(cluster), "peerport4", elements=frozenset())

    found = explain(cluster, "shop/cli", "shop/web:80", live)

    assert found.answers[0].differences == (
        "the policies allow ingress of shop/web, but the kernel's sets on n1 deny it",
    )
    assert "!!! DIFFERENCE !!!" in said(found)


def test_a_table_that_is_gone_is_a_difference(cluster: Cluster) -> None:
    """Where nothing is enforced, what the policies deny passes."""
    found = explain(cluster, "shop/cli", "shop/web:81", Live("n1", Ruleset()))

    assert "!!! DIFFERENCE !!!" in said(found)
    assert "not there or is dormant" in said(found)


def test_a_rule_that_somebody_added_is_a_difference(cluster: Cluster) -> None:
    """A class chain with a rule that none of ours is cannot be followed, and that is said."""
    live = kernel(cluster)
    table = live.tables.tables[IPV4]
    target = table.maps["in_d4"].targets["10.1.0.2"]
    chain = table.chains[target]
    alien = replace(chain.rules[0], comment="mine")
    chains = {**table.chains, target: replace(chain, rules=(alien, *chain.rules))}
    live = Live("n1", Ruleset({IPV4: replace(table, chains=chains)}))

    found = explain(cluster, "shop/cli", "shop/web:81", live)

    assert found.answers[0].differences


def test_a_policy_that_is_not_understood_is_named(tmp_path: Path) -> None:
    """It denies, and the explanation says what of it was wrong."""
    broken = policy("broken", **WEB, ingress=[{"from": [{"ipBlock": {"cidr": "nonsense"}}]}])

    text = said(explain(load_dump(write(tmp_path, broken)), "shop/cli", "shop/web:81"))

    assert "shop/broken: denies: " in text
    assert "'nonsense' is no CIDR" in text
    assert "not understood: networkpolicies shop/broken" in text


@pytest.mark.parametrize(
    ("client", "target", "words"),
    [
        ("shop/nobody", "shop/web:80", ["FROM: there is no pod shop/nobody", "cli, far, new, web"]),
        ("shop/new", "shop/web:80", ["FROM: pod shop/new has no address"]),
        ("node/n9", "shop/web:80", ["FROM: there is no Node n9; there is: n1, n2"]),
        ("web", "shop/web:80", ["FROM: 'web' is no place"]),
        ("shop/cli", "shop/web", ["TO: 'shop/web' names no port"]),
        ("shop/cli", "shop/web:0", ["TO: '0' is no port"]),
        ("shop/cli", "shop/web:80/quic", ["TO: '80/quic' is no port"]),
        ("fd00::1", "shop/web:80", ["no address of one family"]),
        ("web", "shop/web", ["FROM: 'web' is no place", "TO: 'shop/web' names no port"]),
    ],
)
def test_what_is_no_place_is_said(
    cluster: Cluster, client: str, target: str, words: list[str]
) -> None:
    """All mistakes at once, each with what would be right."""
    with pytest.raises(SettingsError) as raised:
        explain(cluster, client, target)

    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize(
    ("target", "protocol"),
    [("shop/web:80", "TCP"), ("shop/web:80/udp", "UDP"), ("shop/web:80/SCTP", "SCTP")],
)
def test_the_protocol_is_tcp_unless_it_is_named(
    cluster: Cluster, target: str, protocol: str
) -> None:
    """PROTO in either case."""
    found = explain(cluster, "shop/cli", target)

    assert str(found.traffic) == f"{protocol} 80"


def test_icmp_has_no_port(cluster: Cluster) -> None:
    """A rule that names ports does not allow it."""
    found = explain(cluster, "shop/cli", "shop/web/icmp", kernel(cluster))

    assert not found.answers[0].passes
    assert found.answers[0].differences == ()


def test_the_command_prints_json(tmp_path: Path) -> None:
    """Programs get the same answer as values."""
    argv = ["explain", "shop/cli", "shop/web:80", "-f", str(write(tmp_path)), "--output", "json"]

    result = CliRunner().invoke(cli.enforcer, argv)

    assert result.exit_code == 0
    answer = json.loads(result.output)
    assert answer["answers"][0]["verdict"] == "open"
    assert answer["kernelAsked"] is False
    rules = answer["answers"][0]["sides"][1]["rules"]
    assert [(rule["policy"], rule["rule"], rule["allows"]) for rule in rules] == [
        ("shop/from-cli", 0, True),
        ("shop/from-cli", 1, False),
    ]


def test_without_a_dump_a_node_is_needed() -> None:
    """The live form says which flag is missing."""
    result = CliRunner(env={"NODE_NAME": None}).invoke(cli.enforcer, ["explain", "a/b", "c/d:80"])

    assert isinstance(result.exception, SettingsError)
    assert "--node-name: not set" in str(result.exception)


def test_a_dump_that_is_none_is_said(tmp_path: Path) -> None:
    """A file that is no JSON is one clear sentence."""
    path = tmp_path / "x.json"
    path.write_text("hello")

    result = CliRunner().invoke(cli.enforcer, ["explain", "a/b", "c/d:80", "-f", str(path)])

    assert "is no dump of Kubernetes objects" in str(result.exception)
