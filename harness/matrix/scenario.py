"""A group of cases, read from one file below ``scenarios/`` and checked as a whole.

Every mistake in it is told at once, with its line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import harness
from harness.matrix.axes import Family, Isolation
from harness.matrix.model import (
    Case,
    Expectation,
    LabelChange,
    Manifest,
    PolicyRef,
    Row,
    Workload,
    name_of,
)
from harness.matrix.strict import Mistakes, load


@dataclass(frozen=True, slots=True)
class _GroupFile:
    title: str
    workload: str
    cases: tuple[Case, ...]
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A group that has been read and holds together."""

    path: Path
    title: str
    workload: Workload
    cases: tuple[Case, ...]
    rows: tuple[Row, ...]
    files: dict[str, tuple[Manifest, ...]]
    workload_path: Path = Path()
    """The file that says who is there; groups with the same one share a cluster."""

    @property
    def name(self) -> str:
        """Its name: its file's, or its folder's where that is called ``cases.yaml``."""
        return group_name(self.path)

    def manifests(self, refs: Iterable[PolicyRef]) -> list[Manifest]:
        """Return policies as they are written."""
        found = (self.files[one] if isinstance(one, str) else (one,) for one in refs)
        return [manifest for manifests in found for manifest in manifests]

    def policies_of(self, case: Case) -> list[Manifest]:
        """Return every policy that a case applies, in order."""
        return self.manifests(ref for step in case.all_steps() for ref in step.apply)

    def direction(self, case: Case) -> Isolation:
        """Say which directions a case isolates: as it says, else by its policies' types."""
        if case.direction:
            return case.direction
        named = {kind for one in self.policies_of(case) for kind in _types(one.get("spec") or {})}
        match "Ingress" in named, "Egress" in named:
            case True, True:
                return Isolation.BOTH
            case True, False:
                return Isolation.INGRESS
            case False, True:
                return Isolation.EGRESS
            case _:
                return Isolation.NONE

    def families(self, case: Case) -> frozenset[Family]:
        """Return the families of the blocks that a case's policies name."""
        specs = (one.get("spec") or {} for one in self.policies_of(case))
        return frozenset(Family.IPV6 if ":" in cidr else Family.IPV4 for cidr in _blocks(specs))

    def case(self, identity: str) -> Case:
        """Find a case by its id; raises LookupError."""
        found = next((case for case in self.cases if case.id == identity), None)
        if found is None:
            raise LookupError(identity)
        return found


def _blocks(specs: Iterable[Manifest]) -> Iterator[str]:
    for spec in specs:
        for rule in (*(spec.get("ingress") or []), *(spec.get("egress") or [])):
            for peer in (*(rule.get("from") or []), *(rule.get("to") or [])):
                if peer.get("ipBlock"):
                    yield str(peer["ipBlock"]["cidr"])


def _types(spec: Manifest) -> list[str]:
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


CASES = "cases.yaml"


def folder() -> Path:
    """Return the folder of the scenarios: in the package where installed, else in the checkout."""
    package = Path(harness.__file__).parent
    installed = package / "_scenarios"
    return installed if installed.is_dir() else package.parent / "scenarios"


def group_name(path: Path) -> str:
    """Return the name of the group in a file."""
    return path.parent.name if path.name == CASES else path.stem


def group_files() -> list[Path]:
    """Return every group's file: the study's first, then by name."""
    study = folder() / "study" / CASES
    others = sorted((folder() / "groups").glob("*.yaml"))
    return [study, *others]


def load_scenario(path: Path) -> Scenario:
    """Read a group and all that it names; raises UsageError with every mistake found."""
    group = load(_GroupFile, path)
    workload = load(Workload, path.parent / group.workload)
    mistakes = Mistakes(path)
    files = dict(_load_files(path.parent, group.cases, mistakes))
    _check_identities(group, mistakes)
    _check_names(workload, "always", workload.always, mistakes)
    for case in group.cases:
        _check_case(workload, case, mistakes)
    _check_workload(workload, mistakes)
    mistakes.raise_any()
    return Scenario(
        path,
        group.title,
        workload,
        group.cases,
        group.rows,
        files,
        (path.parent / group.workload).resolve(),
    )


def _load_files(
    base: Path, cases: Iterable[Case], mistakes: Mistakes
) -> Iterator[tuple[str, tuple[Manifest, ...]]]:
    steps = [step for case in cases for step in case.all_steps()]
    named = (ref for step in steps for ref in (*step.apply, *step.refuse) if isinstance(ref, str))
    for name in dict.fromkeys(named):
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


def _check_identities(group: _GroupFile, mistakes: Mistakes) -> None:
    known: set[str] = set()
    for name in (*(case.id for case in group.cases), *(row.id for row in group.rows)):
        if name in known:
            mistakes.add(name, "is the id of two cases")
        known.add(name)
    for row in group.rows:
        for name in set(row.taken_from) - {case.id for case in group.cases}:
            mistakes.add(row.id, f"there is no case {name}")


def _check_case(workload: Workload, case: Case, mistakes: Mistakes) -> None:
    if case.steps and (case.policies or case.expect):
        mistakes.add(case.id, "has steps: policies and expect belong into them")
    pods = {str(pod) for pod in workload.pods}
    namespaces = {one.name for one in workload.namespaces}
    applied: set[str] = set()
    for at, step in enumerate(case.all_steps()):
        where = case.id if not case.steps else f"{case.id}.steps[{at}]"
        _check_names(workload, where, step.expect, mistakes)
        for ref in step.apply:
            if not isinstance(ref, str):
                _check_policy(ref, f"{where}.apply", mistakes)
        applied |= {name_of(ref) for ref in step.apply}
        pods |= {str(pod) for pod in step.start}
        namespaces |= {one.name for one in step.create}
        for pod in step.start:
            if pod.namespace not in namespaces:
                mistakes.add(where, f"there is no namespace {pod.namespace} for pod {pod}")
        for name in set(step.delete) - applied:
            mistakes.add(where, f"deletes {name}, which no step before has applied")
        retargeted = {one.service for one in step.retarget}
        for name in {*step.finish, *step.remove, *step.recreate, *retargeted} - pods:
            mistakes.add(where, f"there is no pod {name}")
        for change in step.label:
            _check_label(pods, namespaces, where, change, mistakes)


def _check_label(
    pods: set[str], namespaces: set[str], where: str, change: LabelChange, mistakes: Mistakes
) -> None:
    if (change.pod is None) == (change.namespace is None):
        mistakes.add(where, "label: say either pod or namespace")
    elif change.pod is not None and change.pod not in pods:
        mistakes.add(where, f"there is no pod {change.pod}")
    elif change.pod is None and change.namespace not in namespaces:
        mistakes.add(where, f"there is no namespace {change.namespace}")


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
    for pod in (*workload.pods, *workload.hosts):
        if pod.namespace not in namespaces:
            mistakes.add(str(pod), f"there is no namespace {pod.namespace}")
        if pod.node == 0 or pod.node < -1:
            mistakes.add(str(pod), f"there is no node {pod.node}")


V1 = "networking.k8s.io/v1"
V1BETA1 = "extensions/v1beta1"


def as_v1(manifest: Manifest) -> Manifest:
    """Turn an old manifest into what the API takes today; the spec's fields are the same."""
    return manifest | {"apiVersion": V1} if manifest["apiVersion"] == V1BETA1 else manifest
