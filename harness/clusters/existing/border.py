"""The border of a cluster that is not ours: what lies behind it is in namespaces of our own.

A scenario says ``x`` or ``default``; on the cluster that is ``npd-x`` and ``npd-default``.
Manifests are renamed on their way in, namespace selectors by name included, and what the API server
answers is renamed on its way out, where everything of others is left behind as well. So cases,
oracle and reports are the same as on clusters of our own making.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import Manifest, PodRef
from harness.clusters.kube.owned import is_ours, labelled

PREFIX = "npd-"
NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that the API server gives every namespace: its name."""

_IN_A_NAMESPACE = {"NetworkPolicy", "Pod", "Service"}
"""Kinds of a scenario's, which are in ``default`` where they do not say."""


@dataclass(frozen=True, slots=True)
class Border:
    """Between a scenario and a cluster; ``spaces`` are the scenario's namespaces.

    Whatever else a manifest says, an enforcer's for one, goes by its own name.
    """

    spaces: frozenset[str]

    def outer(self, namespace: str) -> str:
        """Return what a scenario's namespace is called on the cluster."""
        return f"{PREFIX}{namespace}" if namespace in self.spaces else namespace

    def homes(self) -> tuple[str, ...]:
        """Return what the scenario's namespaces are called on the cluster."""
        return tuple(sorted(map(self.outer, self.spaces)))

    def pod(self, pod: PodRef) -> PodRef:
        """Return a scenario's pod as the cluster knows it."""
        return PodRef(self.outer(pod.namespace), pod.name)

    def to_cluster(self, manifests: Iterable[Manifest]) -> list[Manifest]:
        """Return manifests for the cluster: in namespaces of ours, and labelled."""
        return labelled(self._renamed(copy.deepcopy(one)) for one in manifests)

    def from_cluster(self, objects: Iterable[Manifest]) -> Iterator[Manifest]:
        """Yield what is ours, and the nodes, with the scenario's names; all else stays behind."""
        names = {self.outer(one): one for one in self.spaces}
        for one in objects:
            metadata = one["metadata"]
            if one["kind"] == "Node":
                yield one
            elif one["kind"] == "Namespace" and metadata["name"] in names and is_ours(one):
                name = names[metadata["name"]]
                labels = metadata["labels"] | {NAME_LABEL: name}
                yield one | {"metadata": metadata | {"name": name, "labels": labels}}
            elif metadata.get("namespace") in names and is_ours(one):
                yield one | {"metadata": metadata | {"namespace": names[metadata["namespace"]]}}

    def _renamed(self, manifest: Manifest) -> Manifest:
        metadata, kind = manifest["metadata"], manifest["kind"]
        if kind == "Namespace":
            metadata["name"] = self.outer(metadata["name"])
        elif kind in _IN_A_NAMESPACE:
            metadata["namespace"] = self.outer(metadata.get("namespace", "default"))
        if kind == "NetworkPolicy":
            for selector in _namespace_selectors(manifest.get("spec")):
                self._rename_by_name(selector)
        return manifest

    def _rename_by_name(self, selector: dict[str, Any]) -> None:
        labels = selector.get("matchLabels") or {}
        if NAME_LABEL in labels:
            labels[NAME_LABEL] = self.outer(labels[NAME_LABEL])
        for expression in selector.get("matchExpressions") or ():
            if expression.get("key") == NAME_LABEL and expression.get("values"):
                expression["values"] = [self.outer(value) for value in expression["values"]]


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
