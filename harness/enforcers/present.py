"""Whatever enforces on a cluster already, judged without being touched.

Nothing is installed, stopped or restarted: Calico, Cilium or another goes on as it is. So what
other enforcers are asked to do by a switch, this one has to do by policies: *off* is without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster, Manifest
from harness.enforcers.base import State, Usage
from harness.errors import EnforcerFailed

NAME = "present"


class Present:
    """Says that it enforces; only probes can tell whether it does."""

    name = NAME

    def __init__(self) -> None:
        """Nothing is known of it before it is met."""
        self._met: Sequence[str] = ()

    def describe(self) -> Mapping[str, Any]:
        """Return which programs on the cluster are known to enforce, where any is."""
        return {"name": self.name, "may be": list(self._met)}

    def share_nodes(self, number: int) -> None:
        """Refuse: it cannot be switched off beside another."""
        del number
        raise EnforcerFailed(_UNTOUCHED)

    def install(self, cluster: Cluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        """Install nothing; remember whom the cluster knows."""
        del logs, nodes
        self._met = cluster.describe().get("may enforce", ())

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return at once: it was there before us."""

    def disable(self) -> None:
        """Refuse: it is not ours to switch off."""
        raise EnforcerFailed(_UNTOUCHED)

    def enable(self) -> None:
        """Do nothing: it was never off."""

    def hold(self) -> None:
        """Refuse: it is not ours to stop."""
        raise EnforcerFailed(_UNTOUCHED)

    def state(self) -> State:
        """Return on: it acts before, during and after a run."""
        return State.ON

    def restart(self) -> None:
        """Refuse: it is not ours to restart."""
        raise EnforcerFailed(_UNTOUCHED)

    def uninstall(self) -> None:
        """Remove nothing."""

    def cpu_seconds(self) -> float:
        """Return 0: what it uses is not known to us."""
        return 0.0

    def usage(self) -> Mapping[str, Usage]:
        """Return nothing: whose daemons they are is not known to us."""
        return {}


class ByPolicy(Present):
    """The same where load is measured: its switch is the policies, which come and go."""

    def __init__(self, cluster: Cluster, policies: Sequence[Manifest]) -> None:
        """Take the policies away at once: as long as it is off there are none."""
        super().__init__()
        self._cluster = cluster
        self._policies = policies
        self.disable()

    def install(self, cluster: Cluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        """Put the policies in force."""
        super().install(cluster, logs, nodes)
        self.enable()

    def disable(self) -> None:
        """Take the policies away."""
        self._cluster.delete(self._policies)

    def enable(self) -> None:
        """Put the policies in force again."""
        self._cluster.apply(self._policies)


_UNTOUCHED = f"--enforcer {NAME}: what is present on the cluster is judged, and never touched"
