"""What was applied to a cluster that stays, and has to be taken back: each object until it goes."""

from __future__ import annotations

import time
from collections.abc import Iterable

from harness.clusters.base import Manifest
from harness.clusters.objects import Objects
from harness.errors import ClusterError

_SECONDS = 120.0
_POLL_SECONDS = 0.2
_WAITED_FOR = {"Namespace", "Pod"}
"""Kinds that go slowly, and whose names the next run may want."""


class Ledger:
    """The objects that are ours."""

    def __init__(self, objects: Objects) -> None:
        """Start with none."""
        self._objects = objects
        self._ours: dict[str, Manifest] = {}

    def add(self, manifests: Iterable[Manifest]) -> None:
        """Note what is about to be applied. Objects that were there before are not to be named."""
        self._ours |= {self._objects.path(one): one for one in manifests}

    def strike(self, manifests: Iterable[Manifest]) -> None:
        """Note what was deleted."""
        for one in manifests:
            self._ours.pop(self._objects.path(one), None)

    def take_back(self) -> None:
        """Delete what is left, and return when it is gone; ClusterError where it does not go."""
        self._objects.delete(self._ours.values(), lambda _: None)
        left = {path for path, one in self._ours.items() if one["kind"] in _WAITED_FOR}
        self._ours = {}
        deadline = time.monotonic() + _SECONDS
        while left := {path for path in left if self._objects.find(path) is not None}:
            if time.monotonic() > deadline:
                raise ClusterError(f"not gone after {_SECONDS:g} s: {', '.join(sorted(left))}")
            time.sleep(_POLL_SECONDS)
