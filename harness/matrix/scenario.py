"""A scenario as data: its workload, its cases, what each expects, and the study's own result."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import harness
from harness.matrix.strict import Mistakes, load

Manifest = dict[str, Any]


class Placement(enum.Enum):
    """Where client and server are to each other: the axis that no public suite crosses."""

    SELF = "self"
    SAME_NODE = "same_node"
    OTHER_NODE = "other_node"
    HOST_TO_OWN_POD = "host_to_own_pod"
    HOST_TO_REMOTE_POD = "host_to_remote_pod"
    FROM_OUTSIDE = "from_outside"
    TO_OUTSIDE = "to_outside"


class Expected(enum.Enum):
    """What has to be seen. How an enforcer denies, by silence or with an error, is its choice."""

    OPEN = "open"
    DENIED = "denied"


class StudyResult(enum.Enum):
    """What the study's table says."""

    PASS = "Pass"  # noqa: S105  # not a password
    FAIL = "Fail"


@dataclass(frozen=True, slots=True)
class NamespaceSpec:
    """A namespace of the workload."""

    name: str
    labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod and the number of its node, counted from 1; -1 is the last one."""

    namespace: str
    name: str
    node: int

    def __str__(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class OutsideSpec:
    """A host outside of the cluster."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """Which connections have which verdict, and why. Empty means: any."""

    verdict: Expected
    because: str
    clients: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    placements: tuple[Placement, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """Who is there."""

    namespaces: tuple[NamespaceSpec, ...]
    pods: tuple[PodSpec, ...]
    outside: tuple[OutsideSpec, ...]
    ports: tuple[int, ...]
    always: tuple[Expectation, ...] = ()

    def names(self) -> set[str]:
        """Return every name that an expectation may use."""
        namespaces = {one.name for one in self.namespaces}
        outside = {one.name for one in self.outside}
        return namespaces | outside | {str(pod) for pod in self.pods} | {NODES}


NODES = "nodes"
"""The name of all nodes as clients, in expectations."""


@dataclass(frozen=True, slots=True)
class Case:
    """A step of the run: policies in force, and what has to be seen then.

    ``expect`` may be empty: then the oracle alone says what is expected.
    """

    id: str
    title: str
    policies: tuple[str, ...]
    expect: tuple[Expectation, ...] = ()
    study: StudyResult | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table that takes the cells of some placements out of other cases' rows."""

    id: str
    title: str
    taken_from: tuple[str, ...]
    placements: tuple[Placement, ...]
    study: StudyResult | None = None


@dataclass(frozen=True, slots=True)
class _CasesFile:
    workload: str
    cases: tuple[Case, ...]
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that has been read and holds together."""

    path: Path
    workload: Workload
    cases: tuple[Case, ...]
    rows: tuple[Row, ...]
    policies: dict[str, tuple[Manifest, ...]]

    def manifests(self, case: Case) -> list[Manifest]:
        """Return a case's policies as they are written."""
        return [manifest for name in case.policies for manifest in self.policies[name]]

    def case(self, identity: str) -> Case:
        """Find a case by its id; raises LookupError."""
        return next(case for case in self.cases if case.id == identity)


def folder() -> Path:
    """Return the folder of the scenarios: in the package where installed, else in the checkout."""
    package = Path(harness.__file__).parent
    installed = package / "_scenarios"
    return installed if installed.is_dir() else package.parent / "scenarios"


def load_scenario(path: Path) -> Scenario:
    """Read ``cases.yaml`` and all that it names; raises UsageError with every mistake found."""
    cases = load(_CasesFile, path)
    workload = load(Workload, path.parent / cases.workload)
    mistakes = Mistakes(path)
    policies = dict(_load_policies(path.parent, cases.cases, mistakes))
    _check_identities(cases, mistakes)
    _check_names(workload, "always", workload.always, mistakes)
    for case in cases.cases:
        _check_names(workload, case.id, case.expect, mistakes)
    _check_workload(workload, mistakes)
    mistakes.raise_any()
    return Scenario(path, workload, cases.cases, cases.rows, policies)


def _load_policies(
    base: Path, cases: Iterable[Case], mistakes: Mistakes
) -> Iterator[tuple[str, tuple[Manifest, ...]]]:
    for name in dict.fromkeys(name for case in cases for name in case.policies):
        try:
            documents = list(yaml.safe_load_all((base / name).read_text()))
        except OSError as problem:
            mistakes.add(name, f"cannot be read: {problem.strerror}")
        except yaml.YAMLError as problem:
            mistakes.add(name, f"is not YAML: {' '.join(str(problem).split())}")
        else:
            for document in documents:
                _check_policy(document, name, mistakes)
            yield name, tuple(documents)


def _check_policy(document: Any, name: str, mistakes: Mistakes) -> None:
    if not isinstance(document, dict) or document.get("kind") != "NetworkPolicy":
        mistakes.add(name, "is not a NetworkPolicy")
    elif document.get("apiVersion") not in {V1, V1BETA1}:
        mistakes.add(name, f"apiVersion {document.get('apiVersion')!r} is none of {V1}, {V1BETA1}")
    elif not isinstance(document.get("spec"), dict):
        mistakes.add(name, "has no spec")


def _check_identities(cases: _CasesFile, mistakes: Mistakes) -> None:
    known: set[str] = set()
    for name in (*(case.id for case in cases.cases), *(row.id for row in cases.rows)):
        if name in known:
            mistakes.add(name, "is the id of two cases")
        known.add(name)
    for row in cases.rows:
        for name in set(row.taken_from) - {case.id for case in cases.cases}:
            mistakes.add(row.id, f"there is no case {name}")


def _check_names(
    workload: Workload, where: str, expect: Iterable[Expectation], mistakes: Mistakes
) -> None:
    names, ports = workload.names(), set(workload.ports)
    for at, one in enumerate(expect):
        for name in {*one.clients, *one.servers} - names:
            known = ", ".join(sorted(names))
            mistakes.add(f"{where}.expect[{at}]", f"nobody is called {name}; there are {known}")
        for port in set(one.ports) - ports:
            mistakes.add(f"{where}.expect[{at}]", f"port {port} is not probed")


def _check_workload(workload: Workload, mistakes: Mistakes) -> None:
    namespaces = {one.name for one in workload.namespaces}
    for pod in workload.pods:
        if pod.namespace not in namespaces:
            mistakes.add(str(pod), f"there is no namespace {pod.namespace}")
        if pod.node == 0 or pod.node < -1:
            mistakes.add(str(pod), f"there is no node {pod.node}")


V1 = "networking.k8s.io/v1"
V1BETA1 = "extensions/v1beta1"


def as_v1(manifest: Manifest) -> Manifest:
    """Turn an old manifest into what the API takes today; the spec's fields are the same."""
    return manifest | {"apiVersion": V1} if manifest["apiVersion"] == V1BETA1 else manifest
