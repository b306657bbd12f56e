"""The study's workload grows by adding pods, and nothing else."""

from __future__ import annotations

from collections import Counter

from harness.clusters.base import Manifest
from harness.workload import study

NODES = ("node-1", "node-2", "node-3")
CROWD = study.Crowd(NODES, services=30)


def kinds(manifests: list[Manifest]) -> Counter[str]:
    """Return how many objects of each kind there are."""
    return Counter(manifest["kind"] for manifest in manifests)


def test_the_first_size_makes_services_and_their_pods() -> None:
    """From nothing, each interfering service gets its Service and its pods."""
    made = list(study.growth(CROWD, 0, 2))

    assert kinds(made) == {"Service": 30, "Pod": 60}


def test_growing_adds_pods_only() -> None:
    """From 2 to 6 pods a service, only the pods that are missing are made."""
    before = {manifest["metadata"]["name"] for manifest in study.growth(CROWD, 0, 2)}

    added = list(study.growth(CROWD, 2, 6))

    assert kinds(added) == {"Pod": 120}
    assert before.isdisjoint(manifest["metadata"]["name"] for manifest in added)


def test_growing_by_nothing_makes_nothing() -> None:
    """A size that is there already needs no manifest."""
    assert list(study.growth(CROWD, 6, 6)) == []


def test_every_size_is_spread_evenly() -> None:
    """At each size all nodes have the same number of interfering pods."""
    for size in (2, 6, 8):
        pods = [m for m in study.growth(CROWD, 0, size) if m["kind"] == "Pod"]

        nodes = Counter(pod["spec"]["nodeName"] for pod in pods)

        assert set(nodes.values()) == {30 * size / 3}


def test_all_pods_of_a_service_are_on_its_home() -> None:
    """Whatever the size, one route leads to all pods of a service."""
    homes = study.homes(CROWD)

    for manifest in [*study.measured(NODES), *study.growth(CROWD, 0, 8)]:
        if manifest["kind"] == "Pod":
            assert manifest["spec"]["nodeName"] == homes[manifest["metadata"]["labels"]["app"]]


def test_the_density_is_the_studys() -> None:
    """Ten services a node give about 20, 60 and 80 pods a node, the measured ones included."""
    crowd = study.Crowd(("node-1", "node-2"), services=20)

    assert [crowd.density(size) for size in (2, 6, 8)] == [21, 61, 81]


def test_the_measured_pods_are_on_the_first_node() -> None:
    """The measured service has two pods, where the outside finds them by one route."""
    service, *pods = study.measured(NODES)

    assert service["spec"]["selector"] == {"app": study.TEST_SERVICE}
    assert [pod["spec"]["nodeName"] for pod in pods] == ["node-1", "node-1"]


def test_the_policy_is_the_studys() -> None:
    """One rule a port, each from 14.215.0.0/16, for every pod of default, ingress only."""
    spec = study.policy()["spec"]

    assert spec["podSelector"] == {}
    assert spec["policyTypes"] == ["Ingress"]
    assert [rule["ports"][0]["port"] for rule in spec["ingress"]] == [9090, 8080, 80]
    assert {rule["from"][0]["ipBlock"]["cidr"] for rule in spec["ingress"]} == {"14.215.0.0/16"}
