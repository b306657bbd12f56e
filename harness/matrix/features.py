"""Cases generated from a table of features: each thing that a policy can say, in each direction.

The table is ``scenarios/generated.yaml``. An id is made of the table's own words, so that it stays
when the table grows: ``NP-GEN-PEER-INGRESS-LABEL-EVERY``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from harness.matrix.axes import Isolation
from harness.matrix.model import Case, Manifest, Workload
from harness.matrix.scenario import V1, Scenario, folder
from harness.matrix.strict import load

GENERATED = "generated"
"""The group's name."""


class Way(enum.Enum):
    """Which directions a generated policy is for."""

    INGRESS = "ingress"
    EGRESS = "egress"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class _Selector:
    says: str
    selector: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    peers: tuple[dict[str, Any], ...] | None = None
    ports: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class _Rules:
    says: str
    rules: tuple[_Rule, ...]


@dataclass(frozen=True, slots=True)
class _Blocks:
    says: str
    blocks: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Ports:
    says: str
    ports: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that a policy can say."""

    title: str
    workload: str
    targets: dict[str, _Selector]
    rules: dict[str, _Rules]
    pods: dict[str, _Selector]
    namespaces: dict[str, _Selector]
    blocks: dict[str, _Blocks]
    ports: dict[str, _Ports]
    conflicts: dict[str, _Rules]


def generated() -> Scenario:
    """Return the group of all generated cases. UsageError with every mistake of the table."""
    path = folder() / f"{GENERATED}.yaml"
    table = load(Table, path)
    workload_path = path.parent / table.workload
    workload = load(Workload, workload_path)
    cases = tuple(_cases(table))
    return Scenario(path, table.title, workload, cases, (), {}, workload_path.resolve())


def _cases(table: Table) -> Iterator[Case]:
    yield from _targets(table)
    yield from _rules(table)
    yield from _peers(table)
    yield from _blocks(table)
    yield from _ports(table)
    yield from _conflicts(table)


_EVERY: Mapping[str, Any] = {}
_ONE: Mapping[str, Any] = {"matchLabels": {"pod": "a"}}
_B = _Rule(({"podSelector": {"matchLabels": {"pod": "b"}}, "namespaceSelector": {}},))


def _targets(table: Table) -> Iterator[Case]:
    for name, one in table.targets.items():
        for way in Way:
            policy = _policy(way, one.selector or {}, (_B,))
            rule = f"A policy for {one.says} isolates these pods for {way.value}, and no others"
            yield _case(("target", way.value, name), rule, policy)


def _rules(table: Table) -> Iterator[Case]:
    for name, one in table.rules.items():
        for way in Way:
            rule = f"Pods called a in x have, for {way.value}, {one.says}"
            policy = _policy(way, _ONE, one.rules)
            yield _case(("rules", way.value, name), rule, policy)


def _peers(table: Table) -> Iterator[Case]:
    for pods, pod in table.pods.items():
        for namespaces, namespace in table.namespaces.items():
            peer = _peer(pod, namespace)
            for way in (Way.INGRESS, Way.EGRESS) if peer else ():
                rule = f"Only {pod.says} {namespace.says} are peers for {way.value}"
                policy = _policy(way, _EVERY, (_Rule((peer,)),))
                yield _case(("peer", way.value, pods, namespaces), rule, policy)


def _peer(pod: _Selector, namespace: _Selector) -> dict[str, Any]:
    selectors = {"podSelector": pod.selector, "namespaceSelector": namespace.selector}
    return {key: value for key, value in selectors.items() if value is not None}


def _blocks(table: Table) -> Iterator[Case]:
    for name, one in table.blocks.items():
        for way in (Way.INGRESS, Way.EGRESS):
            rule = f"Only {one.says} is a peer for {way.value}"
            peers = tuple({"ipBlock": block} for block in one.blocks)
            yield _case(("block", way.value, name), rule, _policy(way, _EVERY, (_Rule(peers),)))


def _ports(table: Table) -> Iterator[Case]:
    for name, one in table.ports.items():
        for way in (Way.INGRESS, Way.EGRESS):
            rule = f"Only {one.says} is admitted for {way.value}, whoever the peer is"
            policy = _policy(way, _EVERY, (_Rule(ports=one.ports),))
            yield _case(("ports", way.value, name), rule, policy)


def _conflicts(table: Table) -> Iterator[Case]:
    for (first, one), (second, two) in combinations(table.conflicts.items(), 2):
        for way in (Way.INGRESS, Way.EGRESS):
            rule = (
                f"Of two policies for {way.value} one {one.says} and the other {two.says}: what"
                " either admits is admitted"
            )
            policies = (
                _policy(way, _ONE, one.rules),
                _policy(way, _ONE, two.rules, "generated-too"),
            )
            yield _case(("conflict", way.value, first, second), rule, *policies)
    for (first, one), (second, two) in combinations(table.conflicts.items(), 2):
        rule = f"Egress of x {one.says} and ingress of y {two.says}: a connection needs both"
        policies = (
            _policy(Way.EGRESS, _EVERY, one.rules),
            _policy(Way.INGRESS, _EVERY, two.rules, namespace="y"),
        )
        direction = Isolation.EGRESS_ONLY_ALLOWS if second == "deny" else Isolation.BOTH
        yield _case(("conflict", "across", first, second), rule, *policies, direction=direction)


def _case(
    words: tuple[str, ...], rule: str, *policies: Manifest, direction: Isolation | None = None
) -> Case:
    identity = "-".join(("NP-GEN", *words)).upper()
    return Case(identity, f"{rule}.", policies, direction=direction)


_KINDS = {Way.INGRESS: ["Ingress"], Way.EGRESS: ["Egress"], Way.BOTH: ["Ingress", "Egress"]}
_WORDS = {"Ingress": "from", "Egress": "to"}


def _policy(
    way: Way,
    target: Mapping[str, Any],
    rules: tuple[_Rule, ...],
    name: str = GENERATED,
    namespace: str = "x",
) -> Manifest:
    sides = {kind.lower(): [_written(rule, _WORDS[kind]) for rule in rules] for kind in _KINDS[way]}
    return {
        "apiVersion": V1,
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"podSelector": dict(target), "policyTypes": _KINDS[way], **sides},
    }


def _written(rule: _Rule, peers: str) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if rule.peers is not None:
        written[peers] = list(rule.peers)
    if rule.ports is not None:
        written["ports"] = list(rule.ports)
    return written
