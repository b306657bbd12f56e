"""Where the pods of a DaemonSet may run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def only_on(nodes: Iterable[str]) -> dict[str, Any]:
    """Return a pod's affinity to nodes by their names.

    A field takes one value, so there is a term a node; any of them will do.
    https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#NodeAffinity
    """
    terms = [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
        for name in nodes
    ]
    wanted = {"nodeSelectorTerms": terms}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": wanted}}
