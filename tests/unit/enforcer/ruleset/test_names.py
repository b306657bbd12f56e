"""Names of classes in the kernel: one for each, whoever chose the names of the policies."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_network

import pytest

from enforcer.model.net import Direction, Family, PortRange, Protocol
from enforcer.model.objects import Key
from enforcer.policy.compiled import Allowed, PolicyClass
from enforcer.ruleset.names import ClassNames, name_classes

OURS = PolicyClass(Direction.INGRESS, (Key("shop", "p57845"),), Allowed())
FORGED = PolicyClass(Direction.INGRESS, (Key("mallory", "p99068"),), Allowed())
"""Found by trying names for a second: 32 bits of their hashes are the same."""


def test_a_policy_cannot_be_named_into_the_place_of_another() -> None:
    """Who may write policies in one namespace chooses no class of another one's pods."""
    names = name_classes([OURS, FORGED])

    assert names[OURS].tag != names[FORGED].tag


def test_a_tag_cannot_be_found_by_trying() -> None:
    """A name with the tag of another class takes 2^96 tries."""
    ((name, _),) = ClassNames().of([OURS])

    assert len(name.tag) * 4 >= 96


@pytest.mark.parametrize("field", [field.name for field in fields(Allowed)])
def test_whatever_classes_of_the_same_policies_allow_tells_them_apart(field: str) -> None:
    """One field of what they allow is enough, whichever: a class without a name ends the daemon."""
    net, port = ip_network("10.0.0.0/8"), PortRange(Protocol.TCP, 80, 80)
    both = Allowed(
        everything=True,
        peers=frozenset({net[1]}),
        peer_ports=frozenset({(net[1], Protocol.TCP, 80)}),
        ports=frozenset({port}),
        networks=frozenset({net}),
        network_ports=frozenset({(net, port)}),
    )
    without = replace(both, **{field: getattr(Allowed(), field)})
    classes = [replace(OURS, allowed=allowed) for allowed in (both, without)]

    assert len({name.tag for name in name_classes(classes).values()}) == len(classes)


def test_the_longest_names_fit_into_the_kernel() -> None:
    """A chain's name has at most 255 bytes, a log prefix at most 127."""
    longest = tuple(Key("n" * 63, f"{number:0>253}") for number in range(3))
    ((name, _),) = ClassNames().of([PolicyClass(Direction.EGRESS, longest, Allowed())])

    kinds = (name.chain(Family.IPV6), name.deny_chain, name.set("tcp_0123456789abcdef_networks6"))
    assert max(map(len, kinds)) <= 255
    assert len(name.log_prefix) <= 127
