"""The run of a matrix on one cluster: deploy, guard, install, then case by case, step by step.

Everything here is ordinary code: the command and the pytest items both call it. A wrong verdict
is a finding and never an exception; exceptions are for a cluster or an enforcer that is not there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from harness.clusters.base import Cluster, Outcome, OutsideRef, Probe, Verdict
from harness.enforcers import present
from harness.enforcers.base import Enforcer
from harness.errors import ClusterError
from harness.matrix import manifests
from harness.matrix.actions import Manifest, Stage
from harness.matrix.axes import EVERYTHING, Protocol, Selection, State, Wiring
from harness.matrix.cases import Asked, Cell, cells, locate
from harness.matrix.compare import Finding, Mark, Target, Wanted, wants
from harness.matrix.evidence import Collect, no_evidence
from harness.matrix.holding import Holding
from harness.matrix.model import Case, StepSpec
from harness.matrix.oracle import Oracle
from harness.matrix.profiles import Circumstances, Profile, known
from harness.matrix.reading import Api, KubernetesApi
from harness.matrix.scenario import Scenario
from harness.matrix.steps import CaseRun, Step
from harness.matrix.watching import Patience, Settled, Watch

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a lab is to judge: on which wiring, by which profile, what of the matrix, how long."""

    wiring: str = ""
    kind: Wiring = Wiring.ROUTED
    profile: Profile = field(default_factory=Profile)
    patience: Patience = field(default_factory=Patience)
    selection: Selection = EVERYTHING
    say: Say = lambda _: None
    make_api: Callable[[Path], Api] = KubernetesApi
    collect: Collect = no_evidence


class Lab:
    """A cluster with the workload and an enforcer, ready for cases."""

    def __init__(
        self, cluster: Cluster, enforcer: Enforcer, scenario: Scenario, wishes: Wishes
    ) -> None:
        """Take a cluster that is up; :meth:`ready` does the rest."""
        self._cluster = cluster
        self._enforcer = enforcer
        self._wishes = wishes
        self._patience = wishes.patience
        self._stage = Stage(
            cluster, enforcer, scenario, wishes.make_api(cluster.kubeconfig), (), []
        )
        self._cells: tuple[Cell, ...] = ()
        self._laid_out: list[Manifest] = []
        self._seen: list[float] = []
        self._given_up = 0
        self._without_policy: list[Wanted] | None = None
        self._last: dict[Probe, Outcome] = {}
        self._answered: set[Target] = set()
        self.spent: defaultdict[str, float] = defaultdict(float)
        """Seconds, by what they were spent on."""
        self.not_probed: dict[Protocol, str] = {}
        """Protocols that cannot be probed here, with the reason."""

    @property
    def scenario(self) -> Scenario:
        """Return whose cases it runs."""
        return self._stage.scenario

    def use(self, scenario: Scenario) -> None:
        """Take the cases of another group with the same workload from now on."""
        self._stage.scenario = scenario

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Write down how long something takes, but for the looks within it."""
        started = time.monotonic()
        before = self.spent["convergence"] + self.spent["verdicts"]
        try:
            yield
        finally:
            within = self.spent["convergence"] + self.spent["verdicts"] - before
            self.spent[what] += time.monotonic() - started - within

    @contextlib.contextmanager
    def ready(self, logs: Path) -> Iterator[Lab]:
        """Deploy, guard, install; uninstall at the end."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._stage.api.close)
            known = {one.value: one for one in Protocol}
            reasons = self._cluster.unsupported()
            self.not_probed = {known[name]: why for name, why in reasons.items() if name in known}
            self._serve_outside()
            self._deploy()
            self._guard()
            stack.enter_context(self._enforced(logs))
            yield self

    @contextlib.contextmanager
    def _enforced(self, logs: Path) -> Iterator[None]:
        self._say(f"installing the enforcer ({self._enforcer.name})")
        try:
            with self.timed("enforcer"):
                self._enforcer.install(self._cluster, logs)
                self._enforcer.wait_ready()
            yield
        finally:
            self._enforcer.uninstall()

    def _serve_outside(self) -> None:
        """Have every host outside answer at every port, by every protocol that has some."""
        own = self.scenario.workload
        with6 = any(":" in one for node in self._cluster.nodes() for one in node.addresses)
        asked = [one for one in own.protocols if one not in {Protocol.ICMP, *self.not_probed}]
        for host, protocol, port in product(own.outside, asked, own.ports):
            for address in filter(None, (host.address, host.address6 if with6 else None)):
                self._cluster.serve(OutsideRef(address), port, protocol.value)

    def run(self, case: Case) -> CaseRun:
        """Run a case's steps, each followed by the whole matrix; then take everything back."""
        started = time.monotonic()
        try:
            steps = tuple(
                self._step(case, number, spec) for number, spec in enumerate(case.all_steps(), 1)
            )
        finally:
            with self.timed("changes"):
                moved = self._stage.undo()
        if moved:
            self._lay_out()
        removed = self._reopen()
        run = CaseRun(case, self._wishes.wiring, steps, removed, time.monotonic() - started)
        self._tell(run)
        return run

    def _step(self, case: Case, number: int, spec: StepSpec) -> Step:
        holding = Holding.none()
        if spec.hold:
            with self.timed("holding"):
                holding = Holding.open(self._cluster, self._cells, self._last)
        with holding:
            with self.timed("changes"):
                refusals = self._stage.do(spec)
            if self._stage.world is not self._laid_out:
                self._lay_out()
            oracle = self._oracle()
            expect = (*self.scenario.workload.always, *spec.expect)
            with self.timed("judging"):
                wanted, disagreements = wants(self._cells, oracle, expect)
            forgive = self._forgive(case, spec.state, spec.started)
            applied = self._settle(wanted, forgive)
            with self.timed("holding"):
                held = holding.ask(oracle, self._wishes.profile, self._patience)
        established = tuple(map(self._forgive(case, State.ESTABLISHED), held))
        step = Step(
            case, self._wishes.wiring, number, spec, applied, tuple(disagreements),
            established, refusals,
        )  # fmt: skip
        if step.right:
            return step
        return dataclasses.replace(
            step, evidence=self._wishes.collect(self._cluster, self._enforcer, step)
        )

    def _oracle(self) -> Oracle:
        return Oracle([*self._stage.world, *self._stage.policies.values()])

    def _forgive(
        self, case: Case, state: State, started: Collection[str] = ()
    ) -> Callable[[Finding], Finding]:
        deviations = self._wishes.profile.deviations

        def forgive(finding: Finding) -> Finding:
            cell = finding.cell
            seen = state.between(started, cell.client.name, cell.server.name)
            circumstances = Circumstances(case.id, self._wishes.kind, seen)
            where = (cell.placement, cell.kind, cell.protocol)
            declared = known(deviations, circumstances, where)
            wrong = finding.mark not in {Mark.RIGHT, Mark.UNPROVED}
            return dataclasses.replace(finding, mark=Mark.KNOWN) if declared and wrong else finding

        return forgive

    def _deploy(self) -> None:
        nodes = self._cluster.nodes()
        if len(nodes) < 2:  # noqa: PLR2004  # a same node and another one
            raise ClusterError("the matrix needs two nodes or more: --nodes 2")
        own = self.scenario.workload
        self._stage.nodes = [node.name for node in nodes]
        self._say(f"deploying {len(own.pods)} pods")
        with self.timed("pods"):
            self._cluster.apply(manifests.of(own, self._stage.nodes))
            for namespace in own.namespaces:
                self._cluster.wait_ready(namespace.name)
            self._stage.world = self._stage.api.world()
        self._lay_out()

    def _lay_out(self) -> None:
        """Find out where everybody is now, and what is asked of them."""
        self._laid_out = self._stage.world
        now = self._stage.workload
        ends = locate(now, self._cluster.nodes(), self._stage.world)
        protocols = tuple(
            one
            for one in now.protocols
            if one not in self.not_probed and self._wishes.selection.takes("protocol", one)
        )
        self._without_policy = None
        self._cells = cells(ends, Asked(now.ports, protocols, self._wishes.selection))

    def _guard(self) -> None:
        """Make sure that nobody enforces yet: all open, and a deny-all changes nothing."""
        self._say(f"no enforcer yet: {len(self._cells)} connections must be open")
        with self.timed("guard"):
            before = self._watch(self._open()).settle()
            self._remember(before)
            if not before.right:
                raise ClusterError(_not_open(before.findings))
            policies = list(manifests.deny_all(self.scenario.workload))
            try:
                self._cluster.apply(policies)
                closed = self._first_closed(time.monotonic() + self._patience.guard)
            finally:
                self._cluster.delete(policies)
        if closed and self._enforcer.name != present.NAME:
            raise ClusterError(
                "another enforcer is active: before any was installed, a deny-all cut "
                f"{len(closed)} of {len(self._cells)} connections, such as {closed[0].cell}"
                f"{_suspects(self._cluster)}; judge it with --enforcer present, or remove it"
            )
        if not closed and self._enforcer.name == present.NAME:
            self._say("a deny-all changed nothing: as it seems, nothing enforces here")

    def _first_closed(self, deadline: float) -> list[Finding]:
        wanted = self._open()
        while True:
            watch = Watch(self._cluster, self._cells, wanted, self._patience)
            closed = [finding for finding in watch.look() if not finding.right]
            if closed or time.monotonic() > deadline:
                return closed
            time.sleep(self._patience.pause)

    def _open(self) -> list[Wanted]:
        """Return what cells show without a policy; asked after every case, so kept."""
        if self._without_policy is None:
            with self.timed("judging"):
                self._without_policy = wants(self._cells, Oracle(self._stage.world), ())[0]
        return self._without_policy

    def _settle(
        self, wanted: Sequence[Wanted], forgive: Callable[[Finding], Finding] = lambda one: one
    ) -> Settled:
        return self._note(self._watch(wanted, forgive).settle())

    def _reopen(self) -> Settled:
        """See that everything is open again which something had closed."""
        return self._note(self._watch(self._open()).reopen())

    def _watch(
        self, wanted: Sequence[Wanted], forgive: Callable[[Finding], Finding] = lambda one: one
    ) -> Watch:
        slowest = max(self._seen, default=0.0)
        patience = dataclasses.replace(self._patience, stable=self._stable(), still=slowest)
        manner = self._wishes.profile.denies
        return Watch(
            self._cluster, self._cells, wanted, patience, manner, forgive,
            self._answered, self._last,
        )  # fmt: skip

    def _note(self, settled: Settled) -> Settled:
        """Remember what was seen, and how long it took where anything had to change."""
        self._remember(settled)
        converged = settled.seconds or 0.0
        self.spent["convergence"] += converged
        self.spent["verdicts"] += settled.looked - converged
        if settled.seconds is None:
            self._given_up += 1
        elif settled.due:
            self._seen.append(settled.seconds)
        return settled

    def _remember(self, settled: Settled) -> None:
        self._last |= {one.cell.probe: one.outcome for one in settled.findings}
        self._answered |= {
            one.cell.target for one in settled.findings if one.outcome.verdict is Verdict.OPEN
        }

    def _stable(self) -> float:
        """How long nothing may change before it is given up.

        The whole patience, until that was in vain several times: an enforcer that is right but
        slow is waited for, and one that is wrong all the time does not take hours.
        """
        most = self._patience.stable
        if self._given_up < _ENOUGH:
            return most
        return min(most, max(_LEAST_STABLE, 10 * max(self._seen, default=0.0)))

    def _tell(self, run: CaseRun) -> None:
        wrong = sum(not finding.right for finding in (*run.findings, *run.lingering))
        if wrong:
            self._say(f"{run.case.id}: {wrong} of {len(run.findings)} wrong")

    def _say(self, text: str) -> None:
        self._wishes.say(f"{self._wishes.wiring}: {text}")


def _suspects(cluster: Cluster) -> str:
    """Name who is known to enforce on a cluster; empty where nobody is."""
    known = cluster.describe().get("may enforce", ())
    return f" (it may be {', '.join(known)})" if known else ""


_ENOUGH = 4
"""Steps that were given up before the slowest convergence says how long to wait for others."""
_LEAST_STABLE = 1.5
"""Seconds."""


def _not_open(findings: Sequence[Finding]) -> str:
    wrong = [finding for finding in findings if not finding.right]
    shown = "\n".join(
        f"  {one.cell}: {one.outcome.verdict.value} {one.outcome.detail}" for one in wrong[:5]
    )
    return (
        f"{len(wrong)} of {len(findings)} connections are not open although there is neither an"
        f" enforcer nor a policy: the cluster is broken, or another enforcer is active\n{shown}"
    )
