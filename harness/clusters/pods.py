"""What a Pod says of itself, as the API server gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.clusters.base import PodRef


def ref_of(pod: Mapping[str, Any]) -> PodRef:
    """Return namespace and name of a pod."""
    return PodRef(pod["metadata"]["namespace"], pod["metadata"]["name"])


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is Ready, by its own condition."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
