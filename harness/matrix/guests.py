"""What a functional run leaves out, and prepares, on a cluster that is not ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence

from harness.enforcers.registry import UNINSTALLED
from harness.matrix.axes import AXES, AddressKind, Placement, Selection
from harness.matrix.model import Case, Expected
from harness.matrix.scenario import Scenario
from harness.options import ClusterSettings

KUBECONFIG = "kubeconfig"
_WHY = "no host outside of a cluster that is not ours could own the scenarios' addresses"

NOT_ASKED: dict[tuple[str, str], str] = {
    ("placement", Placement.FROM_OUTSIDE.value): _WHY,
    ("placement", Placement.TO_OUTSIDE.value): _WHY,
    ("address", AddressKind.EXTERNAL.value): _WHY,
    ("address", AddressKind.NODE_PORT_ELSEWHERE.value): (
        "whether a pod that goes to another node is masqueraded on its way, and so is a stranger "
        "to that node's policies, is this cluster's choice"
    ),
}
"""What is not asked there, by axis and value, and why."""


def narrowed(selection: Selection) -> Selection:
    """Return a selection without what is not asked there."""
    left = {
        axis: frozenset(str(one.value) for one in AXES[axis] if selection.takes(axis, one))
        - {value for of, value in NOT_ASKED if of == axis}
        for axis in {axis for axis, _ in NOT_ASKED}
    }
    return Selection({**selection.wanted, **left})


def without_outside(groups: Iterable[Scenario]) -> tuple[Scenario, ...]:
    """Return groups in which nobody is outside; what policies say of addresses stays."""
    return tuple(
        dataclasses.replace(group, workload=dataclasses.replace(group.workload, outside=()))
        for group in groups
    )


def need_outside(groups: Iterable[Scenario]) -> dict[tuple[str, str], str]:
    """Say which cases let a pod reach nobody but hosts outside: then no control is possible."""
    return {
        ("case", case.id): f"who is denied here may reach outside hosts alone, and {_WHY}"
        for group in groups
        for case in group.cases
        if _opens_outside_alone(case, {one.name for one in group.workload.outside})
    }


def _opens_outside_alone(case: Case, outside: Collection[str]) -> bool:
    return any(
        one.verdict is Expected.OPEN and one.servers and set(one.servers) <= set(outside)
        for step in case.all_steps()
        for one in step.expect
    )


def prepared(base: ClusterSettings, groups: Iterable[Scenario], enforcer: str) -> ClusterSettings:
    """Return settings that say which namespaces a run needs, and what it is going to install."""
    spaces = {space.name for group in groups for space in group.workload.namespaces}
    installs = "" if enforcer in UNINSTALLED else enforcer
    return dataclasses.replace(base, namespaces=tuple(sorted(spaces)), installs=installs)


def amounts(groups: Sequence[Scenario], cases: int) -> Iterator[str]:
    """Say how much a run puts on a cluster at a time, for its owner."""
    workloads = {group.workload_path: group for group in groups}
    for group in workloads.values():
        own = group.workload
        ports = " with NodePorts" if own.node_ports else ""
        hosts = f" ({len(own.hosts)} of them on their node's network)" if own.hosts else ""
        pods = len(own.pods) + len(own.hosts)
        yield f"{pods} pods{hosts} and {len(own.pods)} Services{ports}, for {group.title!r}"
    policies = [len(group.policies_of(case)) for group in groups for case in group.cases]
    yield f"at most {max(policies)} NetworkPolicies at a time, in {cases} cases"
