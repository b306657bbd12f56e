"""What a scenario may ask of an enforcer, whichever it is."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from harness.clusters.base import Cluster


class State(enum.Enum):
    """Whether enforcement acts on packets now."""

    ABSENT = "absent"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Usage:
    """What the daemon of one node takes."""

    cpu_seconds: float
    """Since it was started, what it started and waited for included."""

    rss_bytes: int
    """Resident now, pages that it shares with other programs included; 0 once it is gone."""


@runtime_checkable
class Explains(Protocol):
    """An enforcer that can say why a connection is as it is."""

    def explain(self, cluster: Cluster, node: str, client: str, target: str) -> str:
        """Return its own words about a connection, asked on a node.

        ``client`` is ``namespace/pod``, ``node/name`` or an address; ``target`` the same with
        ``:port/protocol`` behind it, or ``/icmp``.
        """


class Enforcer(Protocol):
    """An enforcer on some or all nodes of one cluster."""

    name: str
    """As given on the command line: ``none``, ``bundled``, ``kube-router``."""

    def describe(self) -> Mapping[str, Any]:
        """Return version, command line and settings (for ``run.json``)."""

    def share_nodes(self, number: int) -> None:
        """Prepare, before :meth:`install`, to be one of several on the same nodes: ``number``.

        At most one of them is enabled at a time. What is disabled leaves nothing that another
        may take for its own; numbers, from 0, keep their ports apart.
        """

    def install(self, cluster: Cluster, logs: Path, nodes: Sequence[str] = ()) -> None:
        """Start it on ``nodes`` (all of them by default); its output goes to files in ``logs``."""

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return when it says that it is in sync on each of its nodes."""

    def disable(self) -> None:
        """Switch enforcement off without touching pods: daemon stopped, rules out of the way."""

    def enable(self) -> None:
        """Undo :meth:`disable`."""

    def hold(self) -> None:
        """Let the rules act with the daemon stopped in its tracks; :meth:`enable` undoes it."""

    def state(self) -> State:
        """Read from the kernel whether enforcement acts."""

    def restart(self) -> None:
        """Stop the daemon and start it again, as an upgrade would; the rules stay."""

    def uninstall(self) -> None:
        """Stop it and remove what it left in the kernel. Idempotent."""

    def cpu_seconds(self) -> float:
        """CPU time of its daemons so far, all nodes together."""

    def usage(self) -> Mapping[str, Usage]:
        """Return what the daemon of each node takes, by node; nothing where there are none."""
