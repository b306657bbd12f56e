"""What the daemons take: CPU time and memory while they start, are idle, and follow changes."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.measure.changes.kernel import Contents, Holders, added, read


class Phase(enum.Enum):
    """What the daemons do."""

    START = "start"
    """From being started to saying that they are in sync."""

    IDLE = "idle"
    """In sync, while nothing changes."""

    CHANGES = "changes"
    """Policies come and go, a pod starts now and then."""

    CHURN = "churn"
    """The same, while pods are replaced all over the cluster."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one node's daemon took in a phase; of the kernel only what was asked for."""

    phase: Phase
    node: str
    seconds: float
    cpu_seconds: float
    rss_bytes: int
    kernel: Contents | None


@dataclass(slots=True)
class Meter:
    """Watches the daemons of an enforcer, and their nodes' kernels.

    ``before`` is what was in each kernel before the enforcer was installed.
    """

    cluster: Cluster
    enforcer: Enforcer
    before: dict[str, Holders]
    taken: list[Taken] = field(default_factory=list)

    @classmethod
    def of(cls, cluster: Cluster, enforcer: Enforcer) -> Meter:
        """Look at every node; the enforcer is not installed yet."""
        nodes = [node.name for node in cluster.nodes()]
        return cls(cluster, enforcer, {node: read(cluster, node) for node in nodes})

    @contextlib.contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Note what each daemon takes while this is entered, started in it or before."""
        earlier = {} if phase is Phase.START else self.enforcer.usage()
        begun = time.monotonic()
        yield
        seconds, usage = time.monotonic() - begun, self.enforcer.usage()
        for node, used in usage.items():
            spent = used.cpu_seconds - (earlier[node].cpu_seconds if node in earlier else 0.0)
            held = self._held(node) if phase is Phase.IDLE else None
            self.taken.append(Taken(phase, node, seconds, spent, used.rss_bytes, held))

    def _held(self, node: str) -> Contents:
        return added(self.before[node], read(self.cluster, node))

    def idle(self, seconds: float) -> None:
        """Watch them while nothing changes, and count what they keep in the kernels."""
        with self.phase(Phase.IDLE):
            time.sleep(seconds)
