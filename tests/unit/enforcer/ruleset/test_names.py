"""Names of classes in the kernel: one for each, whoever chose the names of the policies."""

from __future__ import annotations

from enforcer.model.net import Direction, Family
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


def test_the_longest_names_fit_into_the_kernel() -> None:
    """A chain's name has at most 255 bytes, a log prefix at most 127."""
    longest = tuple(Key("n" * 63, f"{number:0>253}") for number in range(3))
    ((name, _),) = ClassNames().of([PolicyClass(Direction.EGRESS, longest, Allowed())])

    kinds = (name.chain(Family.IPV6), name.deny_chain, name.set("tcp_0123456789abcdef_networks6"))
    assert max(map(len, kinds)) <= 255
    assert len(name.log_prefix) <= 127
