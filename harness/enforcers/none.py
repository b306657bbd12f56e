"""No enforcer at all: the guard before every run, and the control beside every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster
from harness.enforcers.base import State, Usage


class NoEnforcer:
    """Does nothing, successfully; its state is always absent."""

    name = "none"

    def describe(self) -> Mapping[str, Any]:
        """Return its name: it has no version, no command line and no settings."""
        return {"name": self.name}

    def share_nodes(self, number: int) -> None:
        """Change nothing: it takes no place."""

    def install(self, cluster: Cluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        """Start nothing."""

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return at once."""

    def disable(self) -> None:
        """Change nothing: nothing is enforced anyway."""

    def enable(self) -> None:
        """Change nothing: there is nothing to enforce."""

    def hold(self) -> None:
        """Change nothing: there is no daemon to stop."""

    def state(self) -> State:
        """Return absent."""
        return State.ABSENT

    def restart(self) -> None:
        """Start nothing."""

    def uninstall(self) -> None:
        """Remove nothing."""

    def cpu_seconds(self) -> float:
        """Return 0: there is no daemon."""
        return 0.0

    def usage(self) -> Mapping[str, Usage]:
        """Return nothing: there is no daemon."""
        return {}
