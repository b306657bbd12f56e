"""What cannot be understood opens nothing: raw objects in, real packets out.

Pods p1 and p2 are in namespace ns, p3 is in namespace other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from enforcer.kube.decode import decode_object
from enforcer.model.changes import Kind, Put, Replaced
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import compile_node
from tests.kernel.netlab import OUTSIDE, Lab, Pod, Verdict, Wire

pytestmark = pytest.mark.kernel

Json = Mapping[str, Any]
INSIDE = "14.215.0.10"
NODE = {"metadata": {"name": "node"}, "spec": {"podCIDRs": ["10.2.0.0/24", "fd00:2::/64"]}}


@dataclass
class Told:
    """A node that is told raw objects."""

    lab: Lab
    cluster: Cluster = field(default_factory=Cluster)

    def __call__(self, kind: Kind, item: Json) -> None:
        """Take an object in and bring what it means into the kernel."""
        self.cluster.apply(Put(decode_object(kind, json.dumps(item).encode())))
        self.lab.sync(compile_node(self.cluster, "node"))

    def pod(self, number: int, namespace: str = "ns", **changed: Any) -> None:
        """Take a pod of the lab in; ``changed`` are whole parts of it."""
        self(Kind.PODS, manifest(self.lab.pods[number - 1], namespace) | changed)

    def policy(self, name: str = "np", **spec: Any) -> None:
        """Take a policy of namespace ns in."""
        self(Kind.POLICIES, {"metadata": {"namespace": "ns", "name": name}, "spec": spec})

    def is_open(self, client: str, server: str) -> bool:
        """Whether a client reaches a server, as both families have it."""
        there = next((pod for pod in self.lab.pods if pod.name == server), None)
        addresses = (there.ip4, there.ip6) if there else (INSIDE, "fd00:3::10")
        found = {self.lab.probe(client, address, 80) is Verdict.OPEN for address in addresses}
        assert len(found) == 1, "one family is open, the other is not"
        return found.pop()

    def open_pairs(self) -> set[str]:
        """Return who reaches whom, of everybody."""
        names = [*(pod.name for pod in self.lab.pods), OUTSIDE]
        pairs = [(one, two) for one in names for two in names if one != two]
        with ThreadPoolExecutor(len(pairs)) as pool:
            found = pool.map(lambda pair: self.is_open(*pair), pairs)
            return {"-".join(pair) for pair, is_open in zip(pairs, found, strict=True) if is_open}


def manifest(pod: Pod, namespace: str) -> dict[str, Any]:
    """Return a pod as the API shows it."""
    return {
        "metadata": {"namespace": namespace, "name": pod.name, "labels": {"name": pod.name}},
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running", "podIPs": [{"ip": pod.ip4}, {"ip": pod.ip6}]},
    }


EVERYTHING = {
    f"{one}-{two}"
    for one in ("p1", "p2", "p3", OUTSIDE)
    for two in ("p1", "p2", "p3", OUTSIDE)
    if one != two
}


def without(*ways: str) -> set[str]:
    """Return all pairs but some; ``*`` stands for everybody."""
    closed = {tuple(way.split("-")) for way in ways}
    return {
        pair
        for pair in EVERYTHING
        if not any(
            one in ("*", pair.split("-")[0]) and two in ("*", pair.split("-")[1])
            for one, two in closed
        )
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a node with three routed pods."""
    with Lab(Wire.ROUTED) as built:
        for pod in built.pods:
            built.serve(pod.name, 80)
        built.serve(OUTSIDE, 80)
        yield built


@pytest.fixture
def told(lab: Lab) -> Told:
    """Return the node in order: nobody is isolated."""
    made = Told(lab)
    made(Kind.NODES, NODE)
    for namespace in ("ns", "other"):
        made(Kind.NAMESPACES, {"metadata": {"name": namespace}})
    made.pod(1)
    made.pod(2)
    made.pod(3, "other")
    assert made.is_open("p1", "p2")
    return made


def test_a_policy_that_cannot_be_understood_denies_whom_it_selects(told: Told) -> None:
    """In the directions that it may isolate, and nobody else."""
    chosen = {"matchLabels": {"name": "p2"}}
    told.policy(podSelector=chosen, ingress=[{"from": "everybody"}])
    assert told.open_pairs() == without("*-p2")

    told.policy(podSelector=chosen, egress=[{"ports": [{"port": 0}]}])
    assert told.open_pairs() == without("*-p2", "p2-*")

    told.policy(podSelector=chosen, policyTypes=["Egress"], egress=[{"toCome": {}}])
    assert told.open_pairs() == without("p2-*")


def test_a_policy_whose_selector_cannot_be_read_denies_its_namespace(told: Told) -> None:
    """Both ways: nobody knows which pods it was meant for."""
    told.policy(podSelector="p2", ingress=[{}], egress=[{}])

    assert told.open_pairs() == without("*-p1", "*-p2", "p1-*", "p2-*")


def test_a_policy_without_a_readable_name_denies_its_namespace(told: Told) -> None:
    """Both ways, like one whose selector cannot be read; nft could not take such a name either."""
    told(Kind.POLICIES, {"metadata": {"namespace": "ns", "name": 'x"; flush ruleset #'}})
    assert told.open_pairs() == without("*-p1", "*-p2")

    told(Kind.POLICIES, {"metadata": {"namespace": "ns", "name": 5}, "spec": {"ingress": [{}]}})
    assert told.open_pairs() == without("*-p1", "*-p2", "p1-*", "p2-*")


@pytest.mark.parametrize("metadata", [{"name": "np"}, {"name": "np", "namespace": 7}, "strange"])
def test_a_policy_without_a_readable_namespace_denies_every_pod(told: Told, metadata: Any) -> None:
    """It may be any namespace's; what another policy allows goes on, as always."""
    told(Kind.POLICIES, {"metadata": metadata, "spec": {"ingress": [{}], "egress": [{}]}})
    assert told.open_pairs() == set()

    told.policy(podSelector={}, ingress=[{"from": [{"podSelector": {}}]}], egress=[{}])
    assert told.open_pairs() == {"p1-p2", "p2-p1", f"p1-{OUTSIDE}", f"p2-{OUTSIDE}"}

    told.cluster.apply(Replaced(Kind.POLICIES, ()))
    told.pod(1)
    assert told.open_pairs() == EVERYTHING


def test_a_namespace_whose_labels_cannot_be_read_is_no_peer(told: Told) -> None:
    """Not even of a selector that means every namespace; when they can, it is one."""
    told.policy(podSelector={}, ingress=[{"from": [{"namespaceSelector": {}}]}])
    told(Kind.NAMESPACES, {"metadata": {"name": "other", "labels": ["strange"]}})
    assert told.open_pairs() == without("p3-p1", "p3-p2", f"{OUTSIDE}-p1", f"{OUTSIDE}-p2")

    told(Kind.NAMESPACES, {"metadata": {"name": "other", "labels": {"well": "known"}}})
    assert told.open_pairs() == without(f"{OUTSIDE}-p1", f"{OUTSIDE}-p2")


def test_a_pod_whose_labels_cannot_be_read_is_denied_and_no_peer(told: Told) -> None:
    """Both ways, and a policy that means every pod does not mean it."""
    strange = {"namespace": "ns", "name": "p2", "labels": {"name": 2}}
    told.pod(2, metadata=strange)
    assert told.open_pairs() == without("*-p2", "p2-*")

    told.policy(podSelector={}, ingress=[{"from": [{"podSelector": {}}]}])
    told.pod(2)
    assert told.is_open("p2", "p1")


@pytest.mark.parametrize("part", ["spec", "status"])
def test_a_pod_of_which_a_part_cannot_be_read_is_unknown(told: Told, part: str) -> None:
    """It has no address then, and what no known pod has is denied."""
    told.pod(2, **{part: "strange"})

    assert told.open_pairs() == without("*-p2", "p2-*")


def test_pods_that_claim_one_address_get_what_both_may(told: Told, lab: Lab) -> None:
    """Nobody can tell whose the traffic is: only what the policies of both allow is allowed."""
    twin = manifest(lab.pods[1], "other")
    twin["metadata"] |= {"name": "twin", "labels": {"name": "twin"}}
    told.policy(podSelector={}, ingress=[{"from": [{"podSelector": {}}]}])
    assert told.is_open("p1", "p2")

    told(Kind.PODS, twin)
    assert told.is_open("p1", "p2")
    assert not told.is_open("p3", "p2")
    assert told.is_open("p2", OUTSIDE)

    metadata = {"namespace": "other", "name": "np"}
    spec = {"podSelector": {"matchLabels": {"name": "twin"}}, "policyTypes": ["Ingress", "Egress"]}
    told(Kind.POLICIES, {"metadata": metadata, "spec": spec})
    assert not told.is_open("p1", "p2")
    assert not told.is_open("p2", OUTSIDE)
    assert told.is_open("p2", "p1") is False


def test_an_address_that_two_pods_claim_is_nobodys_peer(told: Told, lab: Lab) -> None:
    """What its last pod might is not passed on while its status still names the address."""
    one = {"podSelector": {"matchLabels": {"name": "p1"}}}
    told.policy(podSelector={"matchLabels": {"name": "p2"}}, ingress=[{"from": [one]}])
    assert told.is_open("p1", "p2")

    heir = manifest(lab.pods[0], "ns") | {"spec": {"nodeName": "elsewhere"}}
    heir["metadata"] |= {"name": "heir", "labels": {"name": "heir"}}
    told(Kind.PODS, heir)
    assert not told.is_open("p1", "p2")

    heir["status"] |= {"phase": "Succeeded"}
    told(Kind.PODS, heir)
    assert told.is_open("p1", "p2")
