"""An address that several pods claim: whose peer it is."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from enforcer.model.changes import Kind, Put, Removed
from enforcer.model.net import IPAddress, Protocol
from enforcer.model.objects import Key, NamedPort, Pod
from enforcer.model.selectors import EVERYTHING, Operator, Requirement, Selector
from enforcer.policy.cluster import Cluster

SHARED, OWN = ip_address("10.0.0.1"), ip_address("10.0.0.2")
OLD = Pod(Key("ns", "old"), "n1", {"app": "a"}, (SHARED, ip_address("fd00::1")))
NEW = Pod(Key("ns", "new"), "n1", {"app": "b"}, (SHARED, OWN))
ALIKE = replace(OLD, key=Key("ns", "alike"), addresses=(SHARED,))


def selected(cluster: Cluster, *apps: str) -> set[IPAddress]:
    """Return the addresses of the peers that have one of these labels."""
    wanted = Requirement("app", Operator.IN, frozenset(apps))
    groups = cluster.peers("ns", Selector((wanted,)) if apps else EVERYTHING)
    return {address for group in groups for address in group.addresses}


def cluster_of(*pods: Pod) -> Cluster:
    """Return a cluster that was told of these pods, in this order."""
    cluster = Cluster()
    for pod in pods:
        cluster.apply(Put(pod))
    return cluster


@pytest.mark.parametrize("pods", itertools.permutations((OLD, NEW)))
def test_what_one_pod_may_another_with_its_address_must_not(pods: tuple[Pod, ...]) -> None:
    """Neither of them is a peer there; at addresses of their own they are."""
    cluster = cluster_of(*pods)

    assert selected(cluster, "a") == {ip_address("fd00::1")}
    assert selected(cluster, "b") == {OWN}


def test_pods_that_nothing_tells_apart_may_share() -> None:
    """A Deployment's pod has the address of its predecessor: whoever it is, it is a peer."""
    assert SHARED in selected(cluster_of(OLD, ALIKE), "a")


@pytest.mark.parametrize(
    "other",
    [
        replace(ALIKE, key=Key("elsewhere", "alike")),
        replace(ALIKE, named_ports=(NamedPort("http", Protocol.TCP, 80),)),
    ],
)
def test_namespaces_and_named_ports_tell_pods_apart(other: Pod) -> None:
    """A rule may ask for either."""
    assert SHARED not in selected(cluster_of(OLD, other), "a")


def test_who_is_left_is_a_peer_again() -> None:
    """As soon as the other is gone, finished, or somewhere else."""
    finished = replace(OLD, addresses=())
    for change in (Removed(Kind.PODS, OLD.key), Put(finished)):
        cluster = cluster_of(OLD, NEW)
        cluster.apply(change)

        assert selected(cluster, "b") == {SHARED, OWN}


def test_the_way_does_not_matter() -> None:
    """Whatever comes and goes: the same as a cluster that was told only of the end."""
    draw = random.Random(5)
    addresses = [ip_address(f"10.0.0.{last}") for last in range(4)]
    cluster, there = Cluster(), dict[Key, Pod]()
    for _ in range(2000):
        key = Key(draw.choice(("ns", "other")), draw.choice("pqrst"))
        if key in there and draw.random() < 0.4:
            del there[key]
            cluster.apply(Removed(Kind.PODS, key))
        else:
            own = tuple(draw.sample(addresses, draw.randrange(4)))
            there[key] = Pod(key, "n1", {"app": draw.choice("ab")}, own)
            cluster.apply(Put(there[key]))

        anew = cluster_of(*there.values())
        assert all(selected(cluster, *apps) == selected(anew, *apps) for apps in ("a", "b", ""))
