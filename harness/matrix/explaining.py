"""A case told to a person: the rule, each step, who may reach whom after it, and why.

No cluster is needed: pods get addresses by the plan of an imagined one with two nodes, and the
oracle is asked about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from harness.errors import UsageError
from harness.matrix import manifests
from harness.matrix.features import generated
from harness.matrix.model import Case, PodSpec, StepSpec, Workload
from harness.matrix.oracle import Judgement, Oracle
from harness.matrix.recording import to_yaml
from harness.matrix.scenario import Scenario, as_v1, group_files, load_scenario

Manifest = dict[str, Any]
_NODES = ("node-1", "node-2")


def explain(identity: str, *, as_yaml: bool = False) -> Iterator[str]:
    """Yield the lines. UsageError where there is no such case."""
    scenario, case = find(identity)
    if as_yaml:
        yield to_yaml(map(as_v1, scenario.policies_of(case)))
        return
    yield f"{case.id}: {' '.join(case.rule.split())}"
    if case.source:
        yield f"source: {case.source}"
    yield from _Imagined(scenario).story(case)


def find(identity: str) -> tuple[Scenario, Case]:
    """Return a case of any group."""
    groups = [*map(load_scenario, group_files()), generated()]
    for group in groups:
        for case in group.cases:
            if case.id == identity.upper():
                return group, case
    word = identity.upper()
    near = [case.id for group in groups for case in group.cases if word in case.id][:8]
    hint = f"; there are {', '.join(near)}" if near else "; list them: harness functional --list"
    raise UsageError(f"there is no case {identity}{hint}")


class _Imagined:
    """A cluster of two nodes that is only thought of, and what the steps of a case make of it."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._own: Workload = scenario.workload
        self._labels: dict[str, dict[str, str]] = {}
        self._pods: dict[str, PodSpec] = {str(pod): pod for pod in self._own.pods}
        self._addresses: dict[str, str] = {}
        self._namespaces = {one.name: dict(one.labels or {}) for one in self._own.namespaces}
        self._policies: dict[str, Manifest] = {}

    def story(self, case: Case) -> Iterator[str]:
        for number, step in enumerate(case.all_steps(), 1):
            yield ""
            yield f"Step {number}: {step.words()}"
            policies = self._scenario.manifests([*step.refuse, *step.apply])
            if policies:
                yield "\n".join(f"    {line}" for line in to_yaml(policies).splitlines())
            self._do(step)
            yield from self._table()

    def _do(self, step: StepSpec) -> None:
        for one in self._scenario.manifests(step.apply):
            meta = one["metadata"]
            self._policies[f"{meta.get('namespace', 'default')}/{meta['name']}"] = one
        for name in step.delete:
            del self._policies[name]
        for change in step.label:
            if change.namespace is not None:
                self._namespaces[change.namespace] |= change.set
            elif change.pod is not None:
                self._labels.setdefault(change.pod, {}).update(change.set)
        self._move(step)

    def _move(self, step: StepSpec) -> None:
        for pod in (*step.finish, *step.remove):
            self._pods.pop(pod, None)
        for pod in step.recreate:
            self._labels.pop(pod, None)
        for made in step.create:
            self._namespaces[made.name] = dict(made.labels or {})
        for spec in step.start:
            self._pods[str(spec)] = spec
            if spec.address_of:
                self._addresses[str(spec)] = self._address(spec.address_of)

    def _address(self, pod: str) -> str:
        return self._addresses.setdefault(pod, f"10.0.0.{len(self._addresses) + 1}")

    def _manifests(self) -> Iterator[Manifest]:
        for name, labels in self._namespaces.items():
            kept = {key: value for key, value in labels.items() if value}
            yield {"kind": "Namespace", "metadata": {"name": name, "labels": kept}}
        for at, node in enumerate(_NODES, 1):
            address = [{"type": "InternalIP", "address": f"172.16.0.{at}"}]
            yield {"kind": "Node", "metadata": {"name": node}, "status": {"addresses": address}}
        for name, spec in self._pods.items():
            made = manifests.pod(spec, _NODES, self._own)
            labels = {**made["metadata"]["labels"], **self._labels.get(name, {})}
            made["metadata"]["labels"] = {key: value for key, value in labels.items() if value}
            yield made | {"status": {"phase": "Running", "podIP": self._address(name)}}
        yield from self._policies.values()

    def _table(self) -> Iterator[str]:
        """Yield who may reach whom, one letter a port, and the reasons of what is denied."""
        oracle = Oracle(self._manifests())
        ends = {name: self._address(name) for name in self._pods}
        ends |= {one.name: one.address for one in self._own.outside}
        asked = [(str(p.value), port) for p in self._own.protocols for port in self._own.ports
                 if p.value != "ICMP"]  # fmt: skip
        asked += [("ICMP", 0)] if any(p.value == "ICMP" for p in self._own.protocols) else []
        words = " ".join(f"{protocol}{f'/{port}' if port else ''}" for protocol, port in asked)
        yield f"  in a cell: {words}; O open, x denied; rows are clients"
        wide = max(len(name) for name in ends) + 1
        yield "  " + " " * wide + " ".join(f"{name:>{len(asked)}}" for name in ends)
        reasons: defaultdict[str, int] = defaultdict(int)
        for client, source in ends.items():
            cells = []
            for server, target in ends.items():
                judged = [_judge(oracle, source, target, one) for one in asked]
                cells.append(_cell(client, server, judged).rjust(len(server)))
                for one in judged:
                    if not one.allowed and client != server:
                        reasons[_why(one)] += 1
            yield f"  {client:<{wide}}" + " ".join(cells)
        for sentence, count in sorted(reasons.items(), key=lambda entry: -entry[1])[:9]:
            yield f"  why: {sentence}, and nothing admits it ({count})"


def _judge(oracle: Oracle, source: str, target: str, asked: tuple[str, int]) -> Judgement:
    protocol, port = asked
    return oracle.judge(source, target, port, protocol)


def _why(judgement: Judgement) -> str:
    """Return who is isolated by what, without the connection that asked."""
    return str(judgement).partition(", ")[0]


def _cell(client: str, server: str, judged: Sequence[Judgement]) -> str:
    outside = "/" not in client and "/" not in server
    if outside:
        return "." * len(judged)
    return "".join("O" if one.allowed else "x" for one in judged)
