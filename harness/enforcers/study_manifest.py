"""The study's own manifest, brought to a cluster of today with another image.

The study deployed kube-router by ``scenarios/study/kube-router-firewall-daemonset.yaml``, which is
kept word for word. :func:`adapt` changes what no cluster takes any more, what cannot be fetched
here, and the image: nothing else, and each change is said.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.clusters.base import Manifest
from harness.errors import UsageError

CONTROL_PLANE = {
    "effect": "NoSchedule",
    "key": "node-role.kubernetes.io/control-plane",
    "operator": "Exists",
}
PULL = "IfNotPresent"


@dataclass(frozen=True, slots=True)
class Adapted:
    """The manifest as it can be applied, and a sentence for each change."""

    manifests: tuple[Manifest, ...]
    changes: tuple[str, ...]


def adapt(text: str, image: str, init_image: str) -> Adapted:
    """Return the manifest with ``image`` for the enforcer's and ``init_image`` for busybox.

    UsageError where the text is not of the study's shape.
    """
    documents = [copy.deepcopy(item) for item in yaml.safe_load_all(text) if item]
    daemons = [item for item in documents if item.get("kind") == "DaemonSet"]
    if len(daemons) != 1:
        raise UsageError(f"the study's manifest has {len(daemons)} DaemonSets, not one")
    changes = tuple(_adapt(daemons[0], image, init_image))
    return Adapted(tuple(documents), changes)


def _adapt(daemon: Manifest, image: str, init_image: str) -> Iterator[str]:
    yield f"apiVersion: {daemon['apiVersion']} became apps/v1, which Kubernetes 1.16 left alone"
    daemon["apiVersion"] = "apps/v1"
    spec = daemon["spec"]
    labels = spec["template"]["metadata"]["labels"]
    yield f"selector: apps/v1 requires one; it matches the template's labels {labels}"
    spec["selector"] = {"matchLabels": dict(labels)}
    pod = spec["template"]["spec"]
    for containers, new in ((pod["containers"], image), (pod["initContainers"], init_image)):
        yield from _swap(containers, new)
    yield "tolerations: the taint of control planes is named so since Kubernetes 1.24, not master"
    pod["tolerations"].append(dict(CONTROL_PLANE))


def _swap(containers: Sequence[dict[str, Any]], image: str) -> Iterator[str]:
    (container,) = containers
    yield f"image of {container['name']}: {container['image']} became {image}"
    yield f"imagePullPolicy of {container['name']}: {container['imagePullPolicy']} became {PULL}"
    container.update(image=image, imagePullPolicy=PULL)
