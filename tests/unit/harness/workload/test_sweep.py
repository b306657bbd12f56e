"""Policies of a sweep are functions of numbers, and leave the measured client and witness alone."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from harness.workload import sweep
from harness.workload.study import ALLOWED_CLIENT, DENIED_CLIENT, POLICY_CIDR
from harness.workload.sweep import MOST, Quantity


def hosts(policies: list[dict[str, Any]]) -> list[str]:
    """Return the hosts that they let in, one by one."""
    rules = [rule for policy in policies for rule in policy["spec"]["ingress"]]
    return [peer["ipBlock"]["cidr"] for rule in rules for peer in rule["from"]]


@pytest.mark.parametrize(
    ("quantity", "policies", "rules"),
    [(Quantity.PEERS, 1, 1), (Quantity.RULES, 1, 30), (Quantity.POLICIES, 30, 30)],
)
def test_one_thing_grows_and_the_rest_does_not(
    quantity: Quantity, policies: int, rules: int
) -> None:
    """Thirty peers, rules or policies let the same thirty hosts in."""
    made = [dict(each) for each in sweep.policies(quantity, 30)]

    assert len(made) == policies
    assert sum(len(each["spec"]["ingress"]) for each in made) == rules
    assert hosts(made) == [f"{sweep.host(number)}/32" for number in range(1, 31)]


def test_growing_adds_policies_and_makes_none_again() -> None:
    """From ten to twelve policies is two more."""
    names = [each["metadata"]["name"] for each in sweep.policies(Quantity.POLICIES, 12, have=10)]

    assert names == ["swept-00011", "swept-00012"]


def test_no_host_of_a_sweep_is_a_client_of_the_study() -> None:
    """Nobody who is measured or watched is let in by them; no two are neighbours in a network."""
    addresses = [ip_address(sweep.host(number)) for number in range(1, MOST + 2)]

    assert ip_address(ALLOWED_CLIENT) not in addresses
    assert ip_address(DENIED_CLIENT) not in addresses
    assert not any(address in ip_network(POLICY_CIDR) for address in addresses)
    assert all(address in ip_network("14.216.0.0/16") for address in addresses)
    assert len({int(address) // 2 for address in addresses}) == len(addresses)


@pytest.mark.parametrize(
    ("size", "words"), [(1, "1 policy"), (2, "2 policies"), (100, "100 policies")]
)
def test_one_is_not_told_as_many(size: int, words: str) -> None:
    """Labels, titles and the terminal speak of one policy, and of two policies."""
    assert sweep.counted(size, Quantity.POLICIES) == words
