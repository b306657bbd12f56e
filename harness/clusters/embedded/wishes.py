"""What a pod's annotations ask of its kubelet (:class:`harness.clusters.base.PodAnnotation`)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.clusters.base import PodAnnotation


class Hold(enum.Enum):
    """How far a pod may come."""

    NETWORK = "network"
    """Not even to a network."""
    STATUS = "status"
    """To everything but its status."""
    NOTHING = ""
    """As far as it can."""


class UnknownWishError(Exception):
    """An annotation whose value means nothing."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for one pod. No address, bridge or exit code: as it comes."""

    hold: Hold = Hold.NOTHING
    exit: int | None = None
    address: str = ""
    bridge: int | None = None


def wishes_of(pod: Mapping[str, Any]) -> Wishes:
    """Read a pod's annotations; raises UnknownWishError, with a sentence, on a value unknown."""
    given = pod["metadata"].get("annotations") or {}
    try:
        return Wishes(
            Hold(given.get(PodAnnotation.HOLD, "")),
            _number(given.get(PodAnnotation.EXIT)),
            given.get(PodAnnotation.ADDRESS, ""),
            _number(given.get(PodAnnotation.BRIDGE)),
        )
    except ValueError as error:
        message = f"an annotation of the harness has a value that means nothing: {error}"
        raise UnknownWishError(message) from error


def is_held(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is not to become Ready yet."""
    return bool((pod["metadata"].get("annotations") or {}).get(PodAnnotation.HOLD))


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
