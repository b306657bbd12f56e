"""What a case is: who is there, what is done step by step, and what each step expects."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from harness.matrix.axes import AddressKind, Isolation, Placement, Protocol, State

Manifest = dict[str, Any]
PolicyRef = str | dict[str, Any]
"""A manifest as it is, or the name of a file with some, beside the group's own."""


class Expected(enum.Enum):
    """What has to be seen. How an enforcer denies, by silence or with an error, is its choice."""

    OPEN = "open"
    DENIED = "denied"


class StudyResult(enum.Enum):
    """What the study's table says."""

    PASS = "Pass"  # noqa: S105  # not a password
    FAIL = "Fail"


class Restart(enum.Enum):
    """What a step may restart."""

    ENFORCER = "enforcer"


@dataclass(frozen=True, slots=True)
class NamespaceSpec:
    """A namespace of the workload."""

    name: str
    labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod and the number of its node, counted from 1; -1 is the last one.

    ``labels`` come to the one that its Service selects it by; ``named`` are names of TCP ports
    that mean another number at this pod than the workload says; ``targets`` are ports of its
    Service, of each protocol, that lead to another number of the pod.
    """

    namespace: str
    name: str
    node: int
    labels: dict[str, str] | None = None
    named: dict[str, int] | None = None
    targets: dict[str, int] | None = None
    address_of: str | None = None
    """The pod, ended by then, whose address it gets; only where the cluster can do that."""

    def __str__(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class OutsideSpec:
    """A host outside of the cluster; ``address6`` is its other address, where it has one."""

    name: str
    address: str
    address6: str | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """Which connections have which verdict, and why. Empty means: any."""

    verdict: Expected
    because: str
    clients: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    placements: tuple[Placement, ...] = ()
    addresses: tuple[AddressKind, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """Who is there, and what is asked.

    ``hosts`` are pods on their node's own network, one a node at most: the servers of nodes.
    ``named`` are names of TCP ports that pods declare. ``node_ports``: whether Services have them.
    """

    namespaces: tuple[NamespaceSpec, ...]
    pods: tuple[PodSpec, ...]
    outside: tuple[OutsideSpec, ...]
    ports: tuple[int, ...]
    protocols: tuple[Protocol, ...] = (Protocol.TCP,)
    hosts: tuple[PodSpec, ...] = ()
    named: dict[str, int] | None = None
    node_ports: bool = False
    always: tuple[Expectation, ...] = ()

    def names(self) -> set[str]:
        """Return every name that an expectation may use."""
        namespaces = {one.name for one in self.namespaces}
        outside = {one.name for one in self.outside}
        return namespaces | outside | {str(pod) for pod in self.pods} | {NODES}


NODES = "nodes"
"""The name of all nodes, in expectations."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """Labels that a pod (``namespace/name``) or a namespace gets; an empty text takes one away."""

    set: dict[str, str]
    pod: str | None = None
    namespace: str | None = None

    def __str__(self) -> str:
        """Say it as a person would."""
        what = f"pod {self.pod}" if self.pod else f"namespace {self.namespace}"
        labels = ", ".join(f"{k}={v}" if v else f"no {k}" for k, v in self.set.items())
        return f"label {what} {labels}"


@dataclass(frozen=True, slots=True)
class Retarget:
    """Other ports of a pod (``namespace/name``) that its Service's ports lead to from now on."""

    service: str
    targets: dict[str, int]

    def __str__(self) -> str:
        """Say it as a person would."""
        ports = ", ".join(f"{port} to {target}" for port, target in self.targets.items())
        return f"lead service {self.service} from {ports}"


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step of a case: what is done, in the order of these fields, and what is seen after it.

    ``hold``: connections that are open now are kept, and asked again after the change.
    ``refuse``: manifests that the API has to refuse. Pods are named ``namespace/name``, policies
    too. An empty ``expect`` leaves it to the oracle.
    """

    hold: bool = False
    refuse: tuple[PolicyRef, ...] = ()
    apply: tuple[PolicyRef, ...] = ()
    delete: tuple[str, ...] = ()
    label: tuple[LabelChange, ...] = ()
    retarget: tuple[Retarget, ...] = ()
    finish: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    recreate: tuple[str, ...] = ()
    create: tuple[NamespaceSpec, ...] = ()
    start: tuple[PodSpec, ...] = ()
    restart: Restart | None = None
    expect: tuple[Expectation, ...] = ()

    @property
    def state(self) -> State:
        """What the connections of this step have behind them."""
        if self.restart:
            return State.AFTER_RESTART
        return State.AT_START if self.recreate or self.start else State.NEW

    @property
    def started(self) -> tuple[str, ...]:
        """The pods that have only just started after it."""
        return (*self.recreate, *map(str, self.start))

    def words(self) -> str:
        """Say what is done, as a person would."""
        parts = [
            *(["offer what the API has to refuse"] if self.refuse else []),
            *(["apply " + ", ".join(map(name_of, self.apply))] if self.apply else []),
            *(["delete " + ", ".join(self.delete)] if self.delete else []),
            *map(str, (*self.label, *self.retarget)),
            *(f"{verb} {pod}" for verb in ("finish", "remove", "recreate")
              for pod in getattr(self, verb)),
            *(f"create namespace {one.name}" for one in self.create),
            *(f"start {pod}" for pod in self.start),
            *([f"restart the {self.restart.value}"] if self.restart else []),
        ]  # fmt: skip
        return "; ".join(parts) or "change nothing"


def name_of(ref: PolicyRef) -> str:
    """Return how a policy is called in words: ``namespace/name``, or its file's name."""
    if isinstance(ref, str):
        return ref.rpartition("/")[2]
    metadata = ref.get("metadata") or {}
    return f"{metadata.get('namespace', 'default')}/{metadata.get('name', '?')}"


@dataclass(frozen=True, slots=True)
class Case:
    """A rule, and the steps that show whether an enforcer keeps it.

    ``policies`` and ``expect`` are short for a single step that applies these. ``source`` is where
    the rule, or the defect that it would have caught, is written down. ``direction`` is for what
    the policies' types do not tell.
    """

    id: str
    rule: str
    policies: tuple[PolicyRef, ...] = ()
    expect: tuple[Expectation, ...] = ()
    steps: tuple[StepSpec, ...] = ()
    source: str = ""
    direction: Isolation | None = None
    study: StudyResult | None = None

    def all_steps(self) -> tuple[StepSpec, ...]:
        """Return the steps, also where they were written in short."""
        return self.steps or (StepSpec(apply=self.policies, expect=self.expect),)

    def needs_its_own_kubelet(self) -> bool:
        """Whether a step asks for what :class:`~harness.clusters.base.PodAnnotation` asks."""
        return any(
            step.finish or any(spec.address_of for spec in step.start) for step in self.all_steps()
        )

    def states(self) -> frozenset[State]:
        """Return the states that its steps ask for."""
        steps = self.all_steps()
        held = {State.ESTABLISHED} if any(step.hold for step in steps) else set()
        return frozenset({step.state for step in steps} | held)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table that takes the cells of some placements out of other cases' rows."""

    id: str
    rule: str
    taken_from: tuple[str, ...]
    placements: tuple[Placement, ...]
    study: StudyResult | None = None
