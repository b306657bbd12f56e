"""What could not be understood, as far as a node is concerned, and what was done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from enforcer.model.changes import Kind
from enforcer.model.objects import Key, Policy
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import Problem

EVERYBODY: Final = (
    "every pod of every namespace that no other policy allows, until a list of the policies tells "
    "whose it is"
)


def problems_of(
    cluster: Cluster, node_name: str, policies: Mapping[Key, Policy]
) -> tuple[Problem, ...]:
    """Return the problems that matter on a node, sorted; ``policies`` select pods of it."""
    found = [
        *_of_policies(policies),
        *_of_pods(cluster, node_name),
        *_of_node(cluster, node_name),
        *_of_namespaces(cluster),
        *_unreadable(cluster),
    ]
    return tuple(sorted(found, key=lambda item: (item.kind.value, item.subject, item.message)))


def _of_policies(policies: Mapping[Key, Policy]) -> Iterator[Problem]:
    for key, policy in policies.items():
        if policy.problem:
            directions = " and ".join(direction.value for direction in policy.rules)
            whose = "the pods that it selects" if policy.is_placed else EVERYBODY
            message = f"{policy.problem}; it denies all {directions} of {whose}"
            yield Problem(key, message, Kind.POLICIES)


def _of_pods(cluster: Cluster, node_name: str) -> Iterator[Problem]:
    for pod in cluster.pods_on(node_name):
        if pod.problem:
            message = f"{pod.problem}; it is denied in both directions and is nobody's peer"
            yield Problem(pod.key, message, Kind.PODS)


def _of_node(cluster: Cluster, node_name: str) -> Iterator[Problem]:
    node = cluster.nodes.get(node_name)
    if node is None:
        message = "there is no such Node; without its pod ranges, unknown pods cannot be denied"
        yield Problem(Key("", node_name), message, Kind.NODES)
    elif node.problem:
        message = f"{node.problem}; these addresses and ranges are left out"
        yield Problem(Key("", node_name), message, Kind.NODES)


def _of_namespaces(cluster: Cluster) -> Iterator[Problem]:
    for namespace in cluster.namespaces.values():
        if namespace.problem:
            message = f"{namespace.problem}; no namespaceSelector selects it"
            yield Problem(Key("", namespace.name), message, Kind.NAMESPACES)


def _unreadable(cluster: Cluster) -> Iterator[Problem]:
    for item in cluster.unreadable:
        yield Problem(item.key, f"{item.problem}; it is left out", item.kind)
