"""The fixed chains: what a node has nobody for costs a packet nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from enforcer.model.net import Direction, Family
from enforcer.model.objects import Key
from enforcer.nft.objects import Ruleset, TableId
from enforcer.policy.compiled import Allowed, CompiledPolicy, LocalPod, PolicyClass
from enforcer.ruleset.epoch import needs_bump
from enforcer.ruleset.lower import lower
from enforcer.ruleset.names import IPV4, IPV6
from enforcer.ruleset.options import LowerOptions
from enforcer.wiring import NO_WIRING, Wiring

FRIEND = Allowed(peers=frozenset({ip_address("10.3.0.1")}))
INGRESS = PolicyClass(Direction.INGRESS, (Key("ns", "np"),), FRIEND)
EGRESS = replace(INGRESS, direction=Direction.EGRESS)
IPV4_ONLY = (ip_network("10.2.0.0/24"),)


def lowered(
    ingress: PolicyClass | None = None,
    egress: PolicyClass | None = None,
    wiring: Wiring = NO_WIRING,
) -> Ruleset:
    """Return the tables of an IPv4-only node with one pod."""
    pod = LocalPod(Key("ns", "p"), (ip_address("10.2.0.1"),), ingress, egress)
    compiled = CompiledPolicy("node", (pod,), IPV4_ONLY, frozenset())
    return lower(compiled, wiring, dict.fromkeys(Family, 1), LowerOptions())


def rules(found: Ruleset, *chains: str, tables: Iterable[TableId] = (IPV4, IPV6)) -> str:
    """Return the text of some chains' rules."""
    return "\n".join(
        item.expression
        for id_ in tables
        for name in chains
        for item in found.tables[id_].chains[name].rules
    )


def test_a_direction_in_which_nobody_is_isolated_is_not_asked() -> None:
    """Only the map that holds somebody is looked into."""
    asked = rules(lowered(INGRESS), "fresh_tcp", "judge")

    assert "@in_d4" in asked
    assert all(name not in asked for name in ("@eg_d4", "@in_d6", "@eg_d6"))


def test_the_first_and_the_last_isolated_pod_are_a_new_epoch() -> None:
    """Connections from before are judged in a direction that comes, or goes."""
    one, both = lowered(INGRESS), lowered(INGRESS, EGRESS)

    assert needs_bump(one.tables[IPV4], both.tables[IPV4])
    assert needs_bump(both.tables[IPV4], one.tables[IPV4])


def test_pods_that_forward_for_others_are_only_excepted_where_there_are_some() -> None:
    """A first one brings the rule, and a new epoch."""
    none, some = lowered(), lowered(wiring=Wiring(forwarders=frozenset({"veth1"})))

    assert "@forwarders" not in rules(none, "from_pod", "from_pod_tcp", "to_node")
    assert all("@forwarders" in rules(some, name) for name in ("from_pod", "from_pod_tcp"))
    assert needs_bump(none.tables[IPV4], some.tables[IPV4])


def test_names_of_interfaces_are_only_asked_in_a_family_without_pod_networks() -> None:
    """On an IPv4-only node an IPv4 packet is not compared with names, an IPv6 one is."""
    found = lowered()

    for chain in ("fresh", "fresh_tcp"):
        assert "cali*" not in rules(found, chain, tables=[IPV4])
        assert "cali*" in rules(found, chain, tables=[IPV6])
