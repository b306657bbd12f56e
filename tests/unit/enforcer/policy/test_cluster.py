"""How a cluster takes changes in, and what it then answers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from enforcer.model.changes import Change, Kind, Put, Removed, Replaced, Unreadable
from enforcer.model.objects import Key, Namespace, Node, Pod, Policy
from enforcer.model.selectors import EVERYTHING, Operator, Requirement, Selector
from enforcer.policy.cluster import Cluster

ONE = Pod(Key("nsa", "one"), "n1", {"app": "a"}, (ip_address("10.0.0.1"),))
TWO = Pod(Key("nsa", "two"), "n2", {"app": "a"}, (ip_address("10.0.0.2"),))
OTHER = Pod(Key("nsa", "other"), "n1", {"app": "b"}, (ip_address("10.0.0.3"),))
APP_A = Selector((Requirement("app", Operator.IN, frozenset({"a"})),))
GARBAGE = Unreadable(Kind.PODS, Key("nsa", "?"), "cannot be read")


def cluster_after(*changes: Change) -> Cluster:
    """Make a cluster that went through these changes."""
    cluster = Cluster()
    for change in changes:
        cluster.apply(change)
    return cluster


def peers(cluster: Cluster, selector: Selector = EVERYTHING) -> set[str]:
    """Return the addresses of the peers of nsa that a selector selects."""
    groups = cluster.peers("nsa", selector)
    return {str(address) for group in groups for address in group.addresses}


def test_a_cluster_is_synced_once_every_kind_has_been_listed() -> None:
    """An empty list is a list; single changes are none."""
    cluster = cluster_after(Put(ONE), Replaced(Kind.PODS, ()), Replaced(Kind.NODES, ()))
    assert not cluster.synced
    assert cluster.missing() == (Kind.NAMESPACES, Kind.POLICIES)

    cluster.apply(Replaced(Kind.NAMESPACES, ()))
    cluster.apply(Replaced(Kind.POLICIES, ()))

    assert cluster.synced


def test_a_list_with_a_policy_that_cannot_be_identified_takes_no_policy_away() -> None:
    """Nobody knows which it is: who was denied stays so until a list can be read as a whole."""
    known = Policy(Key("nsa", "known"), EVERYTHING)
    strange = Policy(Key("", "?"), EVERYTHING, problem="cannot be read")
    cluster = cluster_after(Replaced(Kind.POLICIES, (known,)), Replaced(Kind.POLICIES, (strange,)))
    assert set(cluster.policies) == {known.key, strange.key}

    cluster.apply(Replaced(Kind.POLICIES, ()))

    assert not cluster.policies


def test_a_policy_without_a_namespace_is_in_each() -> None:
    """From when it is known until a list tells whose it is, beside those of the namespace."""
    known, named = Policy(Key("nsa", "known"), EVERYTHING), Policy(Key("nsb", "np"), EVERYTHING)
    strange = Policy(Key("", "np"), EVERYTHING, problem="cannot be read")
    cluster = cluster_after(Replaced(Kind.POLICIES, (known,)))
    assert (cluster.policies_in("nsa"), cluster.policies_in("nsb")) == ((known,), ())

    cluster.apply(Replaced(Kind.POLICIES, (known, strange)))
    assert cluster.policies_in("nsa") == (strange, known)
    assert cluster.policies_in("nsb") == (strange,)

    cluster.apply(Replaced(Kind.POLICIES, (known, named)))
    assert (cluster.policies_in("nsa"), cluster.policies_in("nsb")) == ((known,), (named,))


def test_a_list_replaces_all_that_was_known_of_its_kind() -> None:
    """What is not in it is gone; other kinds stay."""
    cluster = cluster_after(
        Put(ONE), Put(TWO), Put(GARBAGE), Put(Node("n1", ())), Replaced(Kind.PODS, (TWO, OTHER))
    )

    assert set(cluster.pods) == {TWO.key, OTHER.key}
    assert set(cluster.nodes) == {"n1"}
    assert list(cluster.pods_on("n1")) == [OTHER]
    assert peers(cluster) == {"10.0.0.2", "10.0.0.3"}
    assert not cluster.unreadable


@pytest.mark.parametrize(
    ("change", "different"),
    [
        (Put(ONE), False),
        (Put(replace(ONE, labels={})), True),
        (Put(TWO), True),
        (Removed(Kind.PODS, ONE.key), True),
        (Removed(Kind.PODS, TWO.key), False),
        (Removed(Kind.NAMESPACES, Key("", "nsa")), False),
        (Replaced(Kind.PODS, (ONE,)), False),
        (Replaced(Kind.PODS, ()), True),
        (Replaced(Kind.NODES, ()), True),
        (Put(GARBAGE), True),
    ],
)
def test_it_says_whether_anything_is_different(change: Change, different: bool) -> None:
    """Most changes of a pod's status change nothing here; the first list of a kind does."""
    cluster = cluster_after(Replaced(Kind.PODS, (ONE,)))

    assert cluster.apply(change) is different


def test_answers_follow_the_changes() -> None:
    """A question that was asked before is answered anew."""
    cluster = cluster_after(Put(ONE))
    assert peers(cluster, APP_A) == {"10.0.0.1"}

    cluster.apply(Put(TWO))
    assert peers(cluster, APP_A) == {"10.0.0.1", "10.0.0.2"}

    cluster.apply(Put(replace(ONE, labels={"app": "b"})))
    assert peers(cluster, APP_A) == {"10.0.0.2"}

    cluster.apply(Put(replace(TWO, addresses=(ip_address("10.0.0.9"),))))
    assert peers(cluster, APP_A) == {"10.0.0.9"}

    cluster.apply(Removed(Kind.PODS, TWO.key))
    assert peers(cluster, APP_A) == set()


@pytest.mark.parametrize(
    "pod", [replace(ONE, addresses=()), replace(ONE, host_network=True), replace(ONE, problem="?")]
)
def test_who_can_be_no_peer(pod: Pod) -> None:
    """Pods without address, on the host's network, or not understood."""
    assert peers(cluster_after(Put(ONE), Put(pod))) == set()


def test_an_object_that_can_be_read_again_is_no_problem_any_more() -> None:
    """Its next version takes the place of the one that could not be read."""
    broken = Unreadable(Kind.PODS, ONE.key, "cannot be read")

    assert list(cluster_after(Put(broken)).unreadable) == [broken]
    assert not cluster_after(Put(broken), Put(ONE)).unreadable
    assert not cluster_after(Put(broken), Removed(Kind.PODS, ONE.key)).unreadable


def test_policies_and_namespaces_are_found_by_name() -> None:
    """Until they are removed."""
    policy = Policy(Key("nsa", "np"), EVERYTHING)
    cluster = cluster_after(Put(policy), Put(Namespace("nsa", {})))
    assert list(cluster.policies_in("nsa")) == [policy]
    assert set(cluster.namespaces) == {"nsa"}

    cluster.apply(Removed(Kind.POLICIES, policy.key))
    cluster.apply(Removed(Kind.NAMESPACES, Key("", "nsa")))

    assert not cluster.policies_in("nsa")
    assert not cluster.namespaces
    assert not cluster.policies
