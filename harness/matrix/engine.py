"""The run of a matrix on one cluster: deploy, guard, install, then step by step.

Everything here is ordinary code: the command and the pytest items both call it. A wrong verdict
is a finding and never an exception; exceptions are for a cluster or an enforcer that is not there.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster, Outcome, OutsideRef, Process
from harness.enforcers.base import Enforcer
from harness.errors import ClusterError
from harness.matrix.cases import Cell, cells, locate
from harness.matrix.compare import Disagreement, Finding, Wanted, compare, wants
from harness.matrix.oracle import Oracle
from harness.matrix.probing import probe_all
from harness.matrix.reading import read_cluster
from harness.matrix.scenario import Case, Scenario, as_v1
from harness.workload import matrix as workload

Manifest = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, all in seconds.

    ``probe``: the least silence that counts as dropped. ``guard``: how long a deny-all has to be
    without effect before no enforcer is believed to be there. ``stable``: a matrix that is not as
    expected is given up once it has not changed for so long. ``limit``: and given up for good.
    """

    probe: float = 0.25
    guard: float = 2.0
    stable: float = 10.0
    limit: float = 90.0
    pause: float = 0.1


@dataclass(frozen=True, slots=True)
class Settled:
    """The last look at a matrix that was watched until it was right, or changed no more.

    ``seconds`` is how long it took to be right for the first time; ``None``: it never was.
    """

    findings: tuple[Finding, ...]
    seconds: float | None
    wait: float

    @property
    def right(self) -> bool:
        """Whether every cell is as expected."""
        return all(finding.right for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Step:
    """A case on one wiring: the matrix with its policies in force, and once they were gone."""

    case: Case
    wiring: str
    applied: Settled
    removed: Settled
    disagreements: tuple[Disagreement, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return every cell as it was with the policies in force."""
        return self.applied.findings

    @property
    def lingering(self) -> tuple[Finding, ...]:
        """Return the cells that did not open again after the policies were removed."""
        return tuple(finding for finding in self.removed.findings if not finding.right)


class Lab:
    """A cluster with the workload and an enforcer, ready for steps."""

    def __init__(  # noqa: PLR0913  # its parts, given once
        self,
        cluster: Cluster,
        enforcer: Enforcer,
        scenario: Scenario,
        patience: Patience,
        *,
        wiring: str = "",
        say: Say = lambda _: None,
        read: Callable[[Path], list[Manifest]] = read_cluster,
    ) -> None:
        """Take a cluster that is up; :meth:`ready` does the rest."""
        self._cluster = cluster
        self._enforcer = enforcer
        self._scenario = scenario
        self._patience = patience
        self._wiring = wiring
        self._say = say
        self._read = read
        self._world: list[Manifest] = []
        self._cells: tuple[Cell, ...] = ()

    @contextlib.contextmanager
    def ready(self, logs: Path) -> Iterator[Lab]:
        """Deploy, guard, install; uninstall at the end."""
        with contextlib.ExitStack() as stack:
            for server in self._serve_outside(logs):
                stack.callback(server.stop)
            self._deploy()
            self._guard()
            stack.enter_context(self._enforced(logs))
            yield self

    @contextlib.contextmanager
    def _enforced(self, logs: Path) -> Iterator[None]:
        self._say(f"{self._wiring}: installing the enforcer ({self._enforcer.name})")
        try:
            self._enforcer.install(self._cluster, logs)
            self._enforcer.wait_ready()
            yield
        finally:
            self._enforcer.uninstall()

    def _serve_outside(self, logs: Path) -> list[Process]:
        """Have every host outside answer at every port."""
        program = [sys.executable, "-m", "harness.prober.echo"]
        return [
            self._cluster.spawn(
                OutsideRef(host.address),
                [*program, *(f"{host.address}:{port}" for port in self._scenario.workload.ports)],
                logs / f"{host.name}.log",
            )
            for host in self._scenario.workload.outside
        ]

    def step(self, case: Case) -> Step:
        """Apply a case's policies, watch the matrix settle, remove them, watch it open again."""
        written = self._scenario.manifests(case)
        expect = (*self._scenario.workload.always, *case.expect)
        wanted, disagreements = wants(self._cells, Oracle([*self._world, *written]), expect)
        policies = [as_v1(manifest) for manifest in written]
        try:
            self._cluster.apply(policies)
            applied = self._settle(wanted)
        finally:
            self._cluster.delete(policies)
        removed = self._settle(self._open()) if policies else applied
        step = Step(case, self._wiring, applied, removed, tuple(disagreements))
        self._tell(step)
        return step

    def _deploy(self) -> None:
        scenario, nodes = self._scenario, self._cluster.nodes()
        if len(nodes) < 2:  # noqa: PLR2004  # a same node and another one
            raise ClusterError("the matrix needs two nodes or more: --nodes 2")
        self._say(f"{self._wiring}: deploying {len(scenario.workload.pods)} pods")
        self._cluster.apply(workload.manifests(scenario.workload, [node.name for node in nodes]))
        for namespace in scenario.workload.namespaces:
            self._cluster.wait_ready(namespace.name)
        self._world = self._read(self._cluster.kubeconfig)
        ends = locate(scenario.workload, nodes, self._world)
        self._cells = cells(ends, scenario.workload.ports)

    def _guard(self) -> None:
        """Make sure that nobody enforces yet: all open, and a deny-all changes nothing."""
        self._say(f"{self._wiring}: no enforcer yet: {len(self._cells)} connections must be open")
        before = self._settle(self._open())
        if not before.right:
            raise ClusterError(_not_open(before.findings))
        policies = list(workload.deny_all(self._scenario.workload))
        try:
            self._cluster.apply(policies)
            closed = self._first_closed(time.monotonic() + self._patience.guard)
        finally:
            self._cluster.delete(policies)
        if closed:
            raise ClusterError(
                "another enforcer is active: before any was installed, a deny-all cut "
                f"{len(closed)} of {len(self._cells)} connections, such as {closed[0].cell};"
                " remove it, or use a cluster without one"
            )

    def _first_closed(self, deadline: float) -> list[Finding]:
        while True:
            findings, _ = self._look(self._open())
            closed = [finding for finding in findings if not finding.right]
            if closed or time.monotonic() > deadline:
                return closed
            time.sleep(self._patience.pause)

    def _open(self) -> list[Wanted]:
        return wants(self._cells, Oracle(self._world), ())[0]

    def _look(self, wanted: Sequence[Wanted]) -> tuple[tuple[Finding, ...], float]:
        probed = probe_all(self._cluster, [c.probe for c in self._cells], self._patience.probe)
        return compare(self._cells, wanted, probed.outcomes), probed.wait

    def _settle(self, wanted: Sequence[Wanted]) -> Settled:
        """Watch until the matrix is right, or has not changed for a while; then look once more."""
        started = changed = time.monotonic()
        before: list[object] = []
        while True:
            findings, _ = self._look(wanted)
            now = time.monotonic()
            seen: list[object] = [_verdict(finding.outcome) for finding in findings]
            changed, before = (changed, before) if seen == before else (now, seen)
            right = all(finding.right for finding in findings)
            stuck = now - changed > self._patience.stable or now - started > self._patience.limit
            if right or stuck:
                break
            time.sleep(self._patience.pause)
        final, wait = self._look(wanted)
        return Settled(final, now - started if right else None, wait)

    def _tell(self, step: Step) -> None:
        wrong = sum(not finding.right for finding in step.findings)
        settled = step.applied.seconds
        when = f"settled in {settled:.1f} s" if settled is not None else "never as expected"
        verdict = f"{wrong} of {len(step.findings)} wrong" if wrong else "all as expected"
        self._say(f"{self._wiring}: {step.case.id}: {verdict} ({when})")


def _verdict(outcome: Outcome) -> object:
    return outcome.verdict


def _not_open(findings: Sequence[Finding]) -> str:
    wrong = [finding for finding in findings if not finding.right]
    shown = "\n".join(
        f"  {one.cell}: {one.outcome.verdict.value} {one.outcome.detail}" for one in wrong[:5]
    )
    return (
        f"{len(wrong)} of {len(findings)} connections are not open although there is neither an"
        f" enforcer nor a policy: the cluster is broken, or another enforcer is active\n{shown}"
    )
