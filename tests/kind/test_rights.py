"""The base asks for no right too many: each one taken away alone is missed, and named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.clusters.base import Manifest
from harness.clusters.kube.kubectl import Kubectl
from tests.kind.deployed import SYSTEM, Place, applied, namespace, wait_until
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


@pytest.fixture(scope="module")
def home(lab: Place) -> Iterator[Place]:
    """Give the cluster with a namespace, another kind of policy, and a policy to warn about."""
    with applied(lab, namespace(HOME), OTHER_POLICIES, SURPRISING):
        yield lab


def test_each_verb_is_needed_and_named(home: Place) -> None:
    """Without any one verb the log says which is missing.

    Without a list it is never ready, without a watch not for long.
    """
    kubectl, nodes = home.kubectl, tuple(reversed(home.node_names()))
    rules = base_rules(kubectl)
    singles = {verb: Single(verb.name, without(rules, verb)) for verb in verbs(rules)}
    whole = Single("whole", rules)
    made = [
        item
        for single in (whole, *singles.values())
        for item in manifests(kubectl, single, (nodes[0], nodes[1]))
    ]
    with applied(home, *made):
        wait_until("all rights make it ready", is_ready, kubectl, whole)
        for verb, single in singles.items():
            wait_until(f"{single.name} is named", _names, kubectl, single, verb)
            if verb.verb == "list" and verb.resource != "*":
                assert not is_ready(kubectl, single)
            elif verb.verb == "watch":
                wait_until(f"{single.name} says so itself", _is_not_ready, kubectl, single)
            else:
                wait_until(f"{single.name} enforces all the same", is_ready, kubectl, single)
        assert "forbidden" not in log(kubectl, whole)


def test_each_capability_is_needed_and_its_lack_is_said(home: Place) -> None:
    """On a node with a bridge, both capabilities make it ready; without either it says why not.

    The bridge is turned, too, as without br_netfilter, though /proc/sys is read-only there.
    """
    kubectl, nodes = home.kubectl, tuple(reversed(home.node_names()))
    rules, script = base_rules(kubectl), BRIDGE.format(address=_spare_address(home))
    both = Single("both", rules, preparation=script)
    turned = Single("turned", rules, arguments=("--same-node=turn",), preparation=script)
    no_raw = Single("no-raw", rules, ("NET_ADMIN",), preparation=script)
    no_admin = Single("no-admin", rules, ("NET_RAW",), preparation=script)
    made = [
        item
        for single in (both, turned, no_raw, no_admin)
        for item in manifests(kubectl, single, (nodes[0], nodes[1]))
    ]
    with applied(home, *made):
        for single in (both, turned):
            wait_until(f"{single.name} is ready", is_ready, kubectl, single)
            assert "proved that bridge cbr0 shows its packets" in log(kubectl, single)
        wait_until("no proof", _says, kubectl, no_raw, "could not be proved")
        wait_until("no nft", _says, kubectl, no_admin, "needs CAP_NET_ADMIN")
        assert not is_ready(kubectl, no_raw)
        assert not is_ready(kubectl, no_admin)


def _names(kubectl: Kubectl, single: Single, verb: Verb) -> bool:
    """Whether a log names a right that is missing, in the API server's words."""
    resource = "adminnetworkpolicies" if verb.resource == "*" else verb.resource
    return _says(kubectl, single, f'cannot {verb.verb} resource "{resource}"')


def _says(kubectl: Kubectl, single: Single, words: str) -> bool:
    return words in log(kubectl, single).replace("\\", "")


def _is_not_ready(kubectl: Kubectl, single: Single) -> bool:
    return not is_ready(kubectl, single)


def _spare_address(lab: Place) -> str:
    """Return an address of the control plane's pod range that no pod has, with its prefix."""
    (cidr,) = lab.cluster.nodes()[0].pod_cidrs
    return f"{cidr.rsplit('.', 1)[0]}.249/29"
