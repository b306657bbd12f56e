"""What kube-router left on a node goes on denying until `enforcer cleanup --kube-router`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer.leftovers import parse
from harness.enforcers.kube_router_model.kernel import sync
from harness.enforcers.kube_router_model.layout import layout
from harness.enforcers.kube_router_model.world import World
from tests.kernel.netlab import NODE, Lab, Verdict, Wire

pytestmark = pytest.mark.kernel

FOREIGN = """
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules -j KUBE-ROUTER-X" -j KUBE-FORWARD
-A FORWARD -s 192.0.2.9/32 -j ACCEPT
COMMIT
"""
"""kube-proxy's and an administrator's: never touched, however alike the words are."""

LATER = """
*filter
:KUBE-ROUTER-FORWARD - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
-I FORWARD 1 -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A FORWARD -m comment --comment "KUBE-ROUTER rule to explicitly ACCEPT traffic that comply to \
network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-FORWARD -m comment --comment "rule to explicitly ACCEPT traffic that comply to \
network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A KUBE-ROUTER-FORWARD -j KUBE-NWPLCY-DEFAULT
COMMIT
"""
"""What versions from 1.0 on add: an entry of their own, and rules for what it has marked."""


def world(lab: Lab) -> World:
    """Return the lab's pods under a policy that lets only p2 reach p1."""
    pods: list[dict[str, Any]] = [
        {
            "metadata": {"namespace": "x", "name": pod.name, "labels": {"app": pod.name}},
            "spec": {"nodeName": "n", "containers": [{}]},
            "status": {"podIP": pod.ip4, "phase": "Running"},
        }
        for pod in lab.pods
    ]
    policy = {
        "metadata": {"namespace": "x", "name": "only-p2"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "p1"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "p2"}}}]}],
        },
    }
    return World.of(pods, [{"metadata": {"name": "x"}}], [policy])


@pytest.fixture
def node() -> Iterator[Lab]:
    """Give a routed node where nothing enforces, and p1 serves."""
    with Lab(Wire.ROUTED) as built:
        built.serve("p1", 80)
        yield built


def cleanup(lab: Lab, *flags: str) -> list[str]:
    """Run the command on the node and return its lines."""
    words = (sys.executable, "-m", "enforcer", "cleanup", "--kube-router", *flags)
    return lab.spaces[NODE].run("env", f"PYTHONPATH={Path.cwd()}", *words).splitlines()


def state(lab: Lab, tool: str) -> str:
    """Return what iptables, ipset and nftables hold, without counters and times."""
    node = lab.spaces[NODE]
    saved = "".join(node.run(f"{one}-save", "-t", "filter") for one in (tool, f"ip6{tool[2:]}"))
    rules = "\n".join(
        line.partition(" [")[0] for line in saved.splitlines() if not line.startswith("#")
    )
    return rules + node.run("ipset", "list", "-n") + node.run("nft", "list", "tables")


@pytest.mark.optional("ipset")
@pytest.mark.parametrize("tool", ["iptables-legacy", "iptables-nft"])
def test_leftovers_are_named_and_go_when_asked(node: Lab, tool: str) -> None:
    """They deny until then; the node is afterwards what it was, others' rules and sets included."""
    inside, p1 = node.spaces[NODE], node.pods[0].ip4
    inside.run(f"{tool}-restore", "--noflush", text=FOREIGN)
    inside.run(f"ip6{tool[2:]}-restore", "--noflush", text=FOREIGN.replace("192.0.2.9/32", "::9"))
    inside.run("ipset", "create", "KUBE-LOOP-BACK", "hash:ip")
    inside.run("nft", "add", "table", "ip", "kube-router")
    before = state(node, tool)
    inside.call(sync, layout(world(node), "n"), tool)
    inside.run(f"{tool}-restore", "--noflush", text=LATER)
    inside.run(f"ip6{tool[2:]}-restore", "--noflush", text=LATER)
    inside.run("nft", "add", "table", "ip", "kube-router-filter-ipv4")
    assert node.probe("p2", p1, 80) is Verdict.OPEN
    assert node.probe("p3", p1, 80) is Verdict.REFUSED  # by their REJECT: port unreachable
    left = state(node, tool)

    named = cleanup(node, "--dry-run")
    assert state(node, tool) == left
    removed = cleanup(node)

    assert [line.replace("found", "removed", 1) for line in named] == removed
    for part in ("rule FORWARD", "chain KUBE-POD-FW-", "chain KUBE-NWPLCY-", "ipset KUBE-DST-"):
        assert any(part in line for line in removed), part
    assert f"removed ip6{tool[2:]}: chain KUBE-ROUTER-FORWARD" in removed
    assert "removed nftables table ip kube-router-filter-ipv4" in removed
    assert state(node, tool) == before
    assert node.probe("p3", p1, 80) is Verdict.OPEN
    assert cleanup(node) == ["nothing of kube-router's is here"]


def test_looking_makes_no_table(node: Lab) -> None:
    """A node that has no legacy table has none afterwards either: an empty one would be hooked."""
    assert cleanup(node, "--dry-run") == ["nothing of kube-router's is here"]

    assert node.spaces[NODE].run("cat", "/proc/net/ip_tables_names") == ""
    assert node.spaces[NODE].run("nft", "list", "tables") == ""


@pytest.mark.optional("ipset")
def test_a_set_that_others_use_stays_and_is_named(node: Lab) -> None:
    """What somebody's own rule still looks into cannot go, and the error says which set."""
    inside = node.spaces[NODE]
    inside.run("ipset", "create", "KUBE-SRC-ABC", "hash:ip")
    match = ("-m", "set", "--match-set", "KUBE-SRC-ABC", "src")
    inside.run("iptables-nft", "-A", "FORWARD", *match, "-j", "DROP")

    with pytest.raises(AssertionError, match="ipset destroy KUBE-SRC-ABC"):
        cleanup(node)

    assert inside.run("ipset", "list", "-n") == "KUBE-SRC-ABC\n"
    inside.run("iptables-nft", "-F", "FORWARD")
    assert cleanup(node) == ["removed ipset KUBE-SRC-ABC"]


def test_a_comment_leads_nowhere() -> None:
    """Only a rule's true target makes it kube-router's, whatever its comment says."""
    saved = '-A INPUT -m comment --comment "see -j KUBE-ROUTER-INPUT" -j ACCEPT'

    assert parse("iptables", saved).rules == ()
