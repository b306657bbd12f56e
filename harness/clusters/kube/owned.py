"""What is ours on a cluster says so: by a label, and it is found again by nothing else.

https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from harness.clusters.base import Manifest

KEY = "app.kubernetes.io/managed-by"
VALUE = "npd-harness"
SELECTOR = f"{KEY}={VALUE}"


def labelled(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return copies of manifests that say whose they are; other labels stay."""
    return [_labelled(one) for one in manifests]


def is_ours(manifest: Manifest) -> bool:
    """Whether an object says that it is ours."""
    labels = manifest["metadata"].get("labels") or {}
    return bool(labels.get(KEY) == VALUE)


def _labelled(manifest: Manifest) -> Manifest:
    made = copy.deepcopy(manifest)
    metadata = made.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), KEY: VALUE}
    return made
