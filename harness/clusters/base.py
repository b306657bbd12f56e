"""What a scenario may ask of a cluster, whatever it is made of."""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

Manifest = dict[str, Any]

Tell = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and of how many."""


def say_nothing(step: str, done: int, of: int) -> None:
    """Tell nobody."""


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


class Transport(enum.StrEnum):
    """What a probe may speak; the address says whether over IPv4 or IPv6."""

    TCP = "TCP"
    """Open once the handshake is complete."""

    UDP = "UDP"
    """Open once the server's answer to a datagram has come."""

    UDP_ONE_WAY = "UDP-one-way"
    """Open once a datagram has reached the server, which stays silent: no reply ever passes.

    The server must be an echo server of the prober's, as pods and the matrix have them.
    """

    SCTP = "SCTP"
    """Open once the association is there. Many kernels lack it: ask :meth:`Cluster.unsupported`."""

    ICMP = "ICMP"
    """Open once an echo request is answered (ICMPv6 for IPv6 addresses). The port means nothing."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One real connection: from a place to an address and port, by a :class:`Transport`."""

    source: Place
    address: str
    port: int
    protocol: str = Transport.TCP


_ICMP_NAMES = {
    (False, 3, 0): "net-unreachable",
    (False, 3, 1): "host-unreachable",
    (False, 3, 2): "prot-unreachable",
    (False, 3, 3): "port-unreachable",
    (False, 3, 9): "net-prohibited",
    (False, 3, 10): "host-prohibited",
    (False, 3, 13): "admin-prohibited",
    (True, 1, 0): "no-route",
    (True, 1, 1): "admin-prohibited",
    (True, 1, 3): "addr-unreachable",
    (True, 1, 4): "port-unreachable",
    (True, 1, 5): "policy-fail",
    (True, 1, 6): "reject-route",
}
"""Types and codes of RFC 792, RFC 1812 and RFC 4443, by the names that nft's ``reject`` has."""


@dataclass(frozen=True, slots=True)
class IcmpError:
    """The ICMP error that ended a probe: type, code, and the address that sent it."""

    kind: int
    code: int
    sender: str

    @property
    def name(self) -> str:
        """What nft calls it: ``icmp-admin-prohibited``, ``icmpv6-port-unreachable``."""
        version6 = ":" in self.sender
        family = "icmpv6" if version6 else "icmp"
        known = _ICMP_NAMES.get((version6, self.kind, self.code))
        return f"{family}-{known or f'{self.kind}-{self.code}'}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a probe ended, how long it took (seconds), and what exactly was seen.

    ``errno`` is the kernel's error number (0: none); ``icmp`` is there where an ICMP error came.
    A probe that was rejected without ``icmp`` got a reset (TCP) or an abort (SCTP).
    """

    verdict: Verdict
    seconds: float
    detail: str = ""
    errno: int = 0
    icmp: IcmpError | None = None

    @property
    def cause(self) -> str:
        """What ended the probe, in a word: ``icmp-port-unreachable``, ``reset``, ``ENOENT``.

        Empty where nothing did: it was open, or nothing came.
        """
        match self.verdict:
            case Verdict.OPEN:
                return ""
            case _ if self.icmp is not None:
                return self.icmp.name
            case Verdict.RESET | Verdict.REJECTED | Verdict.REFUSED:
                return "reset"
            case _:
                return errno.errorcode.get(self.errno, str(self.errno)) if self.errno else ""


@dataclass(frozen=True, slots=True)
class Held:
    """A connection that :meth:`Cluster.hold` opened and keeps.

    ``outcome`` says how opening it ended; only where that is OPEN there is something to ask.
    """

    probe: Probe
    outcome: Outcome
    key: int = 0
    """The prober's own number for it; 0 where it did not open."""


class PodAnnotation(enum.StrEnum):
    """What a case asks of a pod's kubelet on purpose, written into the pod's own annotations.

    Embedded clusters obey; others do not, and a case that needs one is not run there. They may be
    in the manifest, or come and go with :meth:`Cluster.annotate`. With them, and without any trick:

    * *a finished pod*: :attr:`EXIT`, or a command that ends under ``restartPolicy: Never``. Its
      network goes and its address is free, while the object keeps ``status.podIP``.
    * *an address used again*: delete (or finish) a pod, and make another with :attr:`ADDRESS`.
    * *a pod without an address yet*: :attr:`HOLD` ``network``, until the annotation goes.
    * *a pod that sends before anybody knows its address*: :attr:`HOLD` ``status``.
    * *deleted and made again under its name*: delete, wait until the object is gone, apply; the
      new pod has another address as long as there is one, or the same by :attr:`ADDRESS`.
    * *hostNetwork*: ``hostNetwork: true`` runs the pod's programs in its node's namespace, with
      the node's addresses; its place for probes is a :class:`NodeRef`.
    """

    HOLD = "npd.test/hold"
    """``network``: nothing of the pod is there, it stays Pending without an address.
    ``status``: it is up and its programs run, but its status is not written."""

    EXIT = "npd.test/exit"
    """Every container ends with this exit code, for good, whatever ``restartPolicy`` says: the
    pod is Succeeded with ``0``, else Failed."""

    ADDRESS = "npd.test/address"
    """The pod gets this address (with its counterpart in a dual cluster), or Fails where it is
    not free on its node."""

    BRIDGE = "npd.test/bridge"
    """The pod is put on this one of its node's bridges, counted from ``0``."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node: its name, its primary address, and the pod ranges assigned to it.

    ``addresses`` has one for each IP family of the cluster, the primary one first.
    """

    name: str
    address: str
    pod_cidrs: tuple[str, ...]
    addresses: tuple[str, ...] = ()


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

    logs_to: Path | None
    """Where its programs' logs are copied to when it ends."""

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
        """Return when every pod (of a namespace) is Ready and its Services reach it.

        Pods that have finished, or are held (:class:`PodAnnotation`), are not waited for.
        """

    def annotate(self, pod: PodRef, changes: Mapping[str, str | None]) -> None:
        """Set annotations of a pod, or remove those whose value is None."""

    def serve(self, place: Place, port: int, protocol: str = Transport.TCP) -> None:
        """Have an echo server listen at a place, at every address that it has; until the end.

        Pods have their own: nginx images serve their TCP ``containerPort``s with nginx; every
        other containerPort, by its protocol and of any image without a command, is an echo server.
        One that is there already stays. Raises ClusterError where it cannot listen.
        """

    def probe(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Outcome]:
        """Run all probes at once; outcome ``i`` belongs to probe ``i``.

        ``timeout`` is the silence after which a probe counts as dropped, in seconds.
        """

    def unsupported(self) -> Mapping[str, str]:
        """Say which :class:`Transport` cannot be probed here, each with the reason.

        What is in it is *not run*; such a probe would end as ERROR with ``EPROTONOSUPPORT``.
        """

    def hold(self, probes: Sequence[Probe], timeout: float = 0.25) -> list[Held]:
        """Open connections that stay, all at once, each proved by bytes in both directions.

        Connection ``i`` belongs to probe ``i``. TCP and SCTP servers have to answer what they
        are sent: nginx and the pods' echo servers do. UDP and ICMP keep their ports and their
        identifier, so that conntrack sees one flow. ``UDP-one-way`` cannot be held.
        """

    def ask(self, held: Sequence[Held], timeout: float = 0.25) -> list[Outcome]:
        """Ask held connections whether they still carry bytes in both directions.

        Outcome ``i`` belongs to connection ``i``: OPEN, or what a probe may end with. One that
        was cut while it was asked sends again for a while, as TCP does: it may answer later, and
        what it answers late is not taken for the answer to the next question. One that did not
        open, or was released, is an ERROR.
        """

    def release(self, held: Sequence[Held]) -> None:
        """Close held connections at once. Idempotent; what is held ends with the cluster, too."""

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
