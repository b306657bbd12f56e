"""Who asks: hosts outside, or pods of the cluster that is measured."""

from __future__ import annotations

from typing import Any

from harness.measure import clients
from harness.workload import study


def test_the_studys_clients_are_outside(bed: Any) -> None:
    """On a cluster of ours nothing is deployed: one client is in the policy's range, one is not."""
    found = clients.deploy(bed.cluster)

    assert found == clients.OUTSIDE
    assert str(found) == "a host outside of the cluster, at 14.215.0.10"


def test_both_pods_are_on_one_node_in_a_namespace_of_their_own() -> None:
    """The policy of ``default`` selects neither; both may set what their own network is like."""
    space, *pods = clients.manifests("two", "npd-workload:1")

    assert {pod["metadata"]["namespace"] for pod in pods} == {space["metadata"]["name"]}
    assert space["metadata"]["name"] != study.NAMESPACE
    assert [pod["spec"]["nodeName"] for pod in pods] == ["two", "two"]
    assert all(pod["spec"]["containers"][0]["securityContext"]["privileged"] for pod in pods)


def test_a_policy_admits_the_range_that_it_is_told() -> None:
    """Each of its rules is for the client's address alone, where that is a pod's."""
    rules = study.policy("10.244.1.7/32")["spec"]["ingress"]

    assert {rule["from"][0]["ipBlock"]["cidr"] for rule in rules} == {"10.244.1.7/32"}
