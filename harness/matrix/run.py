"""A functional run: a lab for each environment and workload, each case once in it.

:func:`judge` is the whole of it for one cluster that is up: it yields each case as it ends.
:class:`MatrixRun` has clusters brought up by itself (:mod:`harness.matrix.labs`), and writes
everything down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.matrix.axes import EVERYTHING, Protocol, Selection
from harness.matrix.covering import Choice
from harness.matrix.engine import Lab, Say, Wishes
from harness.matrix.environments import Environment, Reasons, reason_of
from harness.matrix.evidence import keep_in
from harness.matrix.labs import GoOn, Labs, Ready, Seat
from harness.matrix.model import Case
from harness.matrix.overview import draw_all
from harness.matrix.pairs import cover
from harness.matrix.profiles import Profile
from harness.matrix.reading import Api, KubernetesApi
from harness.matrix.record import (
    SCHEMA,
    EnvironmentRecord,
    GroupRecord,
    MatrixRecord,
    NotRun,
    to_text,
)
from harness.matrix.recording import Recorder, record_cases
from harness.matrix.report import write_reports
from harness.matrix.scenario import Scenario
from harness.matrix.steps import CaseRun
from harness.matrix.watching import Patience
from harness.results import RunFolder

_STABLE_WITHOUT_ENFORCER = 0.5
"""Seconds; where nothing enforces there is nothing to wait for."""
_PROBE_ELSEWHERE = 0.5
_GLANCE_ELSEWHERE = 0.15
"""Seconds; on real clusters who answers is another program than who asks, on another node."""
_GUARD_EMBEDDED = 0.5
"""Seconds; a cluster of our own making has no enforcer that we do not know of."""


def judge(  # noqa: PLR0913  # what is judged, on what, by which cases
    cluster: Cluster,
    enforcer: Enforcer,
    scenario: Scenario,
    wishes: Wishes | None = None,
    *,
    logs: Path,
    cases: Iterable[Case] | None = None,
) -> Iterator[CaseRun]:
    """Judge an enforcer on a cluster that is up; yields each case as it ends.

    Who has seen enough closes the iterator: the enforcer is then uninstalled.
    """
    asked = wishes or Wishes()
    patience = patience_with(enforcer, cluster, asked.patience)
    lab = Lab(cluster, enforcer, scenario, dataclasses.replace(asked, patience=patience))
    with lab.ready(logs):
        for case in scenario.cases if cases is None else cases:
            yield lab.run(case)


def patience_with(enforcer: Enforcer, cluster: Cluster, patience: Patience) -> Patience:
    """Return a patience that waits for nothing which cannot come."""
    if cluster.kind == "embedded":
        guard = min(patience.guard, _GUARD_EMBEDDED)
        patience = dataclasses.replace(patience, guard=guard)
    else:
        patience = dataclasses.replace(
            patience,
            probe=max(patience.probe, _PROBE_ELSEWHERE),
            glance=max(patience.glance, _GLANCE_ELSEWHERE),
        )
    if enforcer.name == "none":
        patience = dataclasses.replace(
            patience, stable=min(patience.stable, _STABLE_WITHOUT_ENFORCER)
        )
    return patience


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of. ``choice`` has, for each environment, the ids of its cases."""

    groups: tuple[Scenario, ...]
    choice: Choice
    make_cluster: Callable[[Environment], Cluster]
    make_enforcer: Callable[[], Enforcer]
    profile: Profile = field(default_factory=Profile)
    patience: Patience = field(default_factory=Patience)
    selection: Selection = EVERYTHING
    reasons: Reasons = field(default_factory=dict)
    make_api: Callable[[Path], Api] = KubernetesApi
    ahead: bool = False
    """Whether the next cluster may be made while the cases of one run."""

    def seats(self) -> Iterator[Seat]:
        """Yield where cases run, in the order in which they do: each workload has its cluster."""
        workloads = {case.id: one.workload_path for one in self.groups for case in one.cases}
        for environment, cases in self.choice.runs.items():
            for workload in sorted({workloads[case] for case in cases}, key=str):
                yield Seat(environment, workload)

    def find(self, case: str) -> tuple[Scenario, Case]:
        """Return a case and its group."""
        for group in self.groups:
            for one in group.cases:
                if one.id == case:
                    return group, one
        raise LookupError(case)


@dataclass
class MatrixRun:
    """The cases of a run, made when somebody asks for them. One cluster is in use at a time."""

    plan: Plan
    folder: RunFolder
    say: Say = lambda _: None
    _runs: dict[tuple[str, str], CaseRun] = field(default_factory=dict)
    _recorder: Recorder = field(default_factory=Recorder)
    _unsupported: dict[Protocol, str] = field(default_factory=dict)
    _clusters: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _spent: dict[str, dict[Path, Mapping[str, float]]] = field(default_factory=dict)
    _enforcer: Mapping[str, Any] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    written: MatrixRecord | None = None
    """What was stored, once it was."""

    def __post_init__(self) -> None:
        """Plan the labs; none is made yet."""
        self._labs = Labs(self._bring_up, tuple(self.plan.seats()), ahead=self.plan.ahead)

    def case(self, case: str, environment: Environment) -> CaseRun:
        """Return a case's run in an environment, and run it if it was not yet."""
        key = (case, environment.name)
        if key not in self._runs:
            scenario, found = self.plan.find(case)
            lab = self._lab(environment, scenario)
            self._runs[key] = lab.run(found)
            with lab.timed("recording"):
                self._recorder.add(self._runs[key])
        return self._runs[key]

    def finish(self) -> Path | None:
        """Take down what is up, and meanwhile write; returns the report, as :meth:`write`."""
        self._labs.leave()
        try:
            return self.write()
        finally:
            self.close()

    def close(self) -> None:
        """Take down what is up. Idempotent."""
        self._labs.close()

    def record(self) -> MatrixRecord:
        """Write down what was run so far."""
        plan, recorder = self.plan, self._recorder
        record = MatrixRecord(
            schema=SCHEMA,
            enforcer=dict(self._enforcer),
            profile=msgspec.to_builtins(plan.profile),
            environments={one.name: self._environment(one) for one in plan.choice.runs},
            groups=tuple(GroupRecord(one.name, one.title) for one in plan.groups),
            cases=tuple(case for group in plan.groups for case in record_cases(group)),
            ends=tuple(recorder.ends),
            layouts=tuple(recorder.layouts),
            reasons=tuple(recorder.reasons),
            steps=tuple(recorder.steps),
            not_run=tuple(self._not_run()),
            planned={one.name: ids for one, ids in plan.choice.runs.items()},
            seconds=round(time.monotonic() - self._started, 3),
        )
        return cover(record, plan.profile)

    def write(self) -> Path | None:
        """Store matrix, pictures and reports; returns the report, ``None`` if nothing was run."""
        record = self.record()
        if not record.steps:
            return None
        self.written = record
        self.folder.write_text("matrix.json", to_text(record))
        draw_all(record, self.folder.path)
        return write_reports(record, self.folder)

    def _environment(self, environment: Environment) -> EnvironmentRecord:
        spent: Counter[str] = Counter()
        for of_lab in self._spent.get(environment.name, {}).values():
            spent.update(of_lab)
        return EnvironmentRecord(
            environment.wiring.value,
            environment.proxy.value,
            environment.family.value,
            settings=dict(self._clusters.get(environment.name, {})),
            spent={what: round(seconds, 3) for what, seconds in spent.items()},
            not_run=reason_of(environment, self.plan.reasons),
        )

    def _not_run(self) -> Iterator[NotRun]:
        for (axis, value), reason in self.plan.reasons.items():
            yield NotRun(axis, value, reason)
        for protocol, reason in self._unsupported.items():
            yield NotRun("protocol", protocol.value, reason)

    def _lab(self, environment: Environment, scenario: Scenario) -> Lab:
        """Return the lab for a group's cases; how long it was waited for is written down."""
        asked = time.monotonic()
        ready = self._labs.at(Seat(environment, scenario.workload_path))
        lab = ready.lab
        lab.spent["waiting"] += time.monotonic() - asked
        self._spent.setdefault(environment.name, {})[scenario.workload_path] = lab.spent
        self._unsupported |= lab.not_probed
        self._clusters[environment.name] = ready.cluster
        self._enforcer = ready.enforcer
        lab.use(scenario)
        return lab

    def _bring_up(self, seat: Seat, go_on: GoOn) -> Ready:
        environment, started = seat.environment, time.monotonic()
        scenario = next(one for one in self.plan.groups if one.workload_path == seat.workload)
        with contextlib.ExitStack() as stack:
            logs = self._logs(seat)
            made = self.plan.make_cluster(environment)
            made.logs_to = logs / "cluster"
            cluster = stack.enter_context(made)
            go_on()
            enforcer = self.plan.make_enforcer()
            lab = Lab(cluster, enforcer, scenario, self._wishes(environment, enforcer, cluster))
            lab.spent["clusters"] += time.monotonic() - started
            stack.enter_context(lab.ready(logs))
            told = {"name": enforcer.name, **enforcer.describe()}
            return Ready(lab, cluster.describe(), told, stack.pop_all())

    def _logs(self, seat: Seat) -> Path:
        """Return the folder of a lab's logs: two of one environment may be up at once."""
        alike = [one for one in self.plan.seats() if one.environment == seat.environment]
        number = alike.index(seat) + 1
        return self.folder.folder(f"logs/{seat.environment.name}{f'-{number}' * (number > 1)}")

    def _wishes(self, environment: Environment, enforcer: Enforcer, cluster: Cluster) -> Wishes:
        return Wishes(
            wiring=environment.name,
            kind=environment.wiring,
            profile=self.plan.profile,
            patience=patience_with(enforcer, cluster, self.plan.patience),
            selection=self.plan.selection,
            say=self.say,
            make_api=self.plan.make_api,
            collect=keep_in(self.folder),
        )
