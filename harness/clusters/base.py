"""What a scenario may ask of a cluster, whatever it is made of."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

Manifest = dict[str, Any]


class Verdict(enum.Enum):
    """How a probe ended; these are never mixed.

    ``RESET`` is raw: a TCP reset came back. Whether it means *refused* (nobody listens) or
    *rejected* (an enforcer reset it) only the step's control probe can tell; the matrix decides
    and stores REFUSED or REJECTED.
    """

    OPEN = "open"
    DROPPED = "dropped"
    REJECTED = "rejected"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    ERROR = "error"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod as an origin of probes and commands."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class NodeRef:
    """A node's own network namespace."""

    name: str

    def __str__(self) -> str:
        """Return ``node/name``."""
        return f"node/{self.name}"


@dataclass(frozen=True, slots=True)
class OutsideRef:
    """A host outside of the cluster that owns ``address``, which probes use as their source."""

    address: str

    def __str__(self) -> str:
        """Return ``outside/address``."""
        return f"outside/{self.address}"


Place = PodRef | NodeRef | OutsideRef


@dataclass(frozen=True, slots=True)
class Probe:
    """One real connection: from a place to an address, port and protocol (``TCP`` or ``UDP``)."""

    source: Place
    address: str
    port: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a probe ended, how long it took (seconds), and what exactly was seen."""

    verdict: Verdict
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node: its name, its address, and the pod ranges assigned to it."""

    name: str
    address: str
    pod_cidrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Right:
    """What a program may do to resources of one API group, in every namespace (RBAC)."""

    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: exit code and what it printed."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Process(Protocol):
    """A program that was started on a node and goes on running."""

    pid: int

    def running(self) -> bool:
        """Whether it still runs."""

    def signal(self, number: int) -> None:
        """Send a signal to it (SIGSTOP and SIGCONT included)."""

    def stop(self, timeout: float = 10.0) -> None:
        """Send SIGTERM, wait, then SIGKILL; returns when it is gone. Idempotent."""

    def cpu_seconds(self) -> float:
        """User and system CPU time consumed so far by it and its waited-for children."""

    def rss_bytes(self) -> int:
        """Resident set size now; 0 when it is gone."""

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""


class Cluster(Protocol):
    """A cluster that is up. Entering it as a context manager brings it up; leaving takes it down.

    Everything that it made is removed at the end, also after an exception or Ctrl-C.
    """

    kind: str
    name: str
    kubeconfig: Path
    """For programs on the harness's side of the network."""

    node_kubeconfig: Path
    """For programs that run on a node, whoever they are; it may carry no rights at all."""

    def __enter__(self) -> Self:
        """Bring the cluster up; on failure nothing is left behind."""

    def __exit__(self, *exc: object) -> None:
        """Take it down and remove all that was made."""

    def nodes(self) -> tuple[NodeInfo, ...]:
        """Return the nodes in the order of their names."""

    def describe(self) -> Mapping[str, Any]:
        """Return the settings that make this cluster what it is (for ``run.json``)."""

    def kubeconfig_of(self, account: str, rights: Sequence[Right]) -> Path:
        """Return a kubeconfig for programs on nodes that run as a ServiceAccount of this name.

        Where the control plane knows identities, it has these rights and no others.
        """

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Create the objects, or replace those that exist, as the official client would."""

    def delete(self, manifests: Iterable[Manifest]) -> None:
        """Delete the objects; those that are gone already are fine."""

    def wait_ready(self, namespace: str | None = None, timeout: float = 300.0) -> None:
        """Return when every pod (of a namespace) is Ready and its Services reach it."""

    def probe(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Outcome]:
        """Run all probes at once; outcome ``i`` belongs to probe ``i``.

        ``timeout`` is the silence after which a probe counts as dropped, in seconds.
        """

    def exec(self, place: Place, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command inside a place and wait for it; no shell."""

    def spawn(
        self,
        place: Place,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program inside a place, its output appended to ``log``."""
