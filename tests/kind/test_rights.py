"""The base asks for no right too many: each one taken away alone is missed, and named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from harness.clusters.base import Manifest
from harness.clusters.kube.kubectl import Kubectl
from tests.kind.deployed import SYSTEM, House, namespace, wait_until
from tests.kind.single import (
    HOME,
    Single,
    Verb,
    base_rules,
    is_ready,
    log,
    manifests,
    verbs,
    without,
)

pytestmark = pytest.mark.kind

OTHER_GROUP = "policy.networking.k8s.io"
OTHER_POLICIES: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": f"adminnetworkpolicies.{OTHER_GROUP}",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a test's"},
    },
    "spec": {
        "group": OTHER_GROUP,
        "scope": "Cluster",
        "names": {"plural": "adminnetworkpolicies", "kind": "AdminNetworkPolicy"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }
        ],
    },
}
SURPRISING: Manifest = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "surprising", "namespace": SYSTEM},
    "spec": {
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}],
    },
}
"""Matches pods by address: an event is due. Nothing enforces it, where DNS is served."""

BRIDGE = """
ip link add cbr0 type bridge
ip address add {address} dev cbr0
ip link set cbr0 up
"""


@dataclass(frozen=True, slots=True)
class Reduced:
    """Enforcers whose rights are cut down, started at once: none of them waits for another."""

    kubectl: Kubectl
    whole: Single
    """With every right."""
    without: Mapping[Verb, Single]
    """With every right but one."""
    capable: Mapping[str, Single]
    """With some capabilities, on a node with a bridge."""


@pytest.fixture(scope="session")
def reduced(house: House) -> Iterator[Reduced]:
    """Give them, and with them another kind of policy, and a policy to warn about."""
    kubectl, (where, whose) = house.kubectl, tuple(reversed(house.node_names()))
    rules = base_rules(kubectl)
    singles = Reduced(
        kubectl,
        Single("whole", rules),
        {verb: Single(verb.name, without(rules, verb)) for verb in verbs(rules)},
        {one.name: one for one in _capable(rules, BRIDGE.format(address=_spare_address(house)))},
    )
    every = (singles.whole, *singles.without.values(), *singles.capable.values())
    made = [item for single in every for item in manifests(kubectl, single, (where, whose))]
    with namespace(kubectl, HOME):
        kubectl.apply([OTHER_POLICIES, SURPRISING, *made])
        yield singles
        kubectl.delete([OTHER_POLICIES, SURPRISING, *made], wait=False)


def _capable(rules: Sequence[dict[str, Any]], script: str) -> Iterator[Single]:
    """Yield enforcers on a node with a bridge; ``turned`` turns it, as without br_netfilter."""
    yield Single("both", rules, preparation=script)
    yield Single("turned", rules, arguments=("--same-node=turn",), preparation=script)
    yield Single("no-raw", rules, ("NET_ADMIN",), preparation=script)
    yield Single("no-admin", rules, ("NET_RAW",), preparation=script)


def test_each_verb_is_needed_and_named(reduced: Reduced) -> None:
    """Without any one verb the log says which is missing; without a list it is never ready."""
    kubectl = reduced.kubectl
    wait_until("all rights make it ready", is_ready, kubectl, reduced.whole)
    for verb, single in reduced.without.items():
        wait_until(f"{single.name} is named", _names, kubectl, single, verb)
        if verb.verb == "list" and verb.resource != "*":
            assert not is_ready(kubectl, single)
        elif verb.verb != "watch":
            wait_until(f"{single.name} enforces all the same", is_ready, kubectl, single)
    assert "forbidden" not in log(kubectl, reduced.whole)


def test_each_capability_is_needed_and_its_lack_is_said(reduced: Reduced) -> None:
    """On a node with a bridge, both capabilities make it ready; without either it says why not.

    The bridge is turned, too, as without br_netfilter, though /proc/sys is read-only there.
    """
    kubectl, capable = reduced.kubectl, reduced.capable
    for name in ("both", "turned"):
        wait_until(f"{name} is ready", is_ready, kubectl, capable[name])
        assert "proved that bridge cbr0 shows its packets" in log(kubectl, capable[name])
    wait_until("no proof", _says, kubectl, capable["no-raw"], "could not be proved")
    wait_until("no nft", _says, kubectl, capable["no-admin"], "needs CAP_NET_ADMIN")
    for name in ("no-raw", "no-admin"):
        assert not is_ready(kubectl, capable[name])


@pytest.mark.last
def test_without_a_watch_it_is_not_ready_for_long(reduced: Reduced) -> None:
    """Who is not told of changes says so, after a minute."""
    for single in (one for verb, one in reduced.without.items() if verb.verb == "watch"):
        assert "observer: ready" in log(reduced.kubectl, single)
        wait_until(f"{single.name} says so itself", _is_not_ready, reduced.kubectl, single)


def _names(kubectl: Kubectl, single: Single, verb: Verb) -> bool:
    """Whether a log names a right that is missing, in the API server's words."""
    resource = "adminnetworkpolicies" if verb.resource == "*" else verb.resource
    return _says(kubectl, single, f'cannot {verb.verb} resource "{resource}"')


def _says(kubectl: Kubectl, single: Single, words: str) -> bool:
    return words in log(kubectl, single).replace("\\", "")


def _is_not_ready(kubectl: Kubectl, single: Single) -> bool:
    return not is_ready(kubectl, single)


def _spare_address(house: House) -> str:
    """Return an address of the control plane's pod range that no pod has, with its prefix."""
    (cidr,) = house.cluster.nodes()[0].pod_cidrs
    return f"{cidr.rsplit('.', 1)[0]}.249/29"
