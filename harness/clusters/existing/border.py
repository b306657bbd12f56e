"""The border of a cluster that is not ours: what lies behind it is in namespaces of our own.

A scenario says ``x`` or ``default``; on the cluster that is ``npd-x`` and ``npd-default``.
Manifests are renamed on their way in, namespace selectors by name included, and what the API server
answers is renamed on its way out, where everything of others is left behind as well. So cases,
oracle and reports are the same as on clusters of our own making.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from harness.clusters.base import Manifest, PodRef
from harness.clusters.kube import agents
from harness.clusters.kube.owned import is_ours, labelled

PREFIX = "npd-"
NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that the API server gives every namespace: its name."""


def outer(namespace: str) -> str:
    """Return what a scenario's namespace is called on the cluster."""
    return f"{PREFIX}{namespace}"


def inner(namespace: str) -> str:
    """Return what a namespace on the cluster is called in the scenario."""
    return namespace.removeprefix(PREFIX)


def pod_outside(pod: PodRef) -> PodRef:
    """Return a scenario's pod as the cluster knows it."""
    return PodRef(outer(pod.namespace), pod.name)


def to_cluster(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return manifests for the cluster: in namespaces of ours, and labelled."""
    return labelled(_renamed_in(copy.deepcopy(one)) for one in manifests)


def from_cluster(objects: Iterable[Manifest]) -> Iterator[Manifest]:
    """Yield what is ours, and the nodes, with the scenario's names; all else is left behind."""
    found = list(objects)
    homes = {one["metadata"]["name"] for one in found if one["kind"] == "Namespace" and _home(one)}
    for one in found:
        metadata = one["metadata"]
        if one["kind"] == "Node":
            yield one
        elif one["kind"] == "Namespace" and metadata["name"] in homes:
            labels = metadata["labels"] | {NAME_LABEL: inner(metadata["name"])}
            yield one | {"metadata": metadata | {"name": inner(metadata["name"]), "labels": labels}}
        elif metadata.get("namespace") in homes:
            yield one | {"metadata": metadata | {"namespace": inner(metadata["namespace"])}}


def _home(namespace: Manifest) -> bool:
    name = namespace["metadata"]["name"]
    return is_ours(namespace) and name.startswith(PREFIX) and name != agents.NAMESPACE


def _renamed_in(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    match manifest["kind"]:
        case "Namespace":
            metadata["name"] = outer(metadata["name"])
        case "NetworkPolicy":
            metadata["namespace"] = outer(metadata.get("namespace", "default"))
            for selector in _namespace_selectors(manifest.get("spec")):
                _rename_by_name(selector)
        case _:
            metadata["namespace"] = outer(metadata.get("namespace", "default"))
    return manifest


def _namespace_selectors(part: Any) -> Iterator[dict[str, Any]]:
    """Yield them wherever they are: what is offered to be refused may have any shape."""
    if isinstance(part, list):
        for one in part:
            yield from _namespace_selectors(one)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "namespaceSelector" and isinstance(value, dict):
                yield value
            else:
                yield from _namespace_selectors(value)


def _rename_by_name(selector: dict[str, Any]) -> None:
    labels = selector.get("matchLabels") or {}
    if NAME_LABEL in labels:
        labels[NAME_LABEL] = outer(labels[NAME_LABEL])
    for expression in selector.get("matchExpressions") or ():
        if expression.get("key") == NAME_LABEL and expression.get("values"):
            expression["values"] = [outer(value) for value in expression["values"]]
