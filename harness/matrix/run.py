"""A functional run: one lab a wiring, each case's step once, everything written down at the end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.matrix.engine import Lab, Patience, Say, Step
from harness.matrix.picture import draw
from harness.matrix.reading import read_cluster
from harness.matrix.record import (
    SCHEMA,
    End,
    MatrixRecord,
    StepRecord,
    record_cases,
    record_ends,
    record_step,
    to_text,
)
from harness.matrix.report import write_reports
from harness.matrix.scenario import Scenario
from harness.results import RunFolder

_STABLE_WITHOUT_ENFORCER = 1.0
"""Seconds; where nothing enforces there is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """A way to connect pods to their node, with what makes such a cluster."""

    name: str
    make: Callable[[], Cluster]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of."""

    scenario: Scenario
    wirings: tuple[Wiring, ...]
    make_enforcer: Callable[[], Enforcer]
    patience: Patience = field(default_factory=Patience)
    read: Callable[[Path], list[dict[str, Any]]] = read_cluster


@dataclass
class MatrixRun:
    """The steps of a run, made when somebody asks for them. One cluster is up at a time."""

    plan: Plan
    folder: RunFolder
    say: Say = lambda _: None
    _steps: dict[tuple[str, str], Step] = field(default_factory=dict)
    _records: list[StepRecord] = field(default_factory=list)
    _ends: tuple[End, ...] = ()
    _clusters: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _enforcer: Mapping[str, Any] = field(default_factory=dict)
    _up: tuple[str, Lab] | None = None
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def step(self, case: str, wiring: str) -> Step:
        """Return a case's step on a wiring, and run it if it was not yet."""
        if (case, wiring) not in self._steps:
            step = self._lab(wiring).step(self.plan.scenario.case(case))
            self._steps[case, wiring] = step
            self._records.append(record_step(step))
            self._ends = record_ends(step)
        return self._steps[case, wiring]

    def close(self) -> None:
        """Take down what is up. Idempotent."""
        self._up = None
        self._stack.close()

    def record(self) -> MatrixRecord:
        """Write down what was run so far."""
        scenario = self.plan.scenario
        return MatrixRecord(
            schema=SCHEMA,
            scenario=scenario.path.parent.name,
            enforcer=dict(self._enforcer),
            wirings={w.name: dict(self._clusters.get(w.name, {})) for w in self.plan.wirings},
            cases=record_cases(scenario),
            ends=self._ends,
            ports=scenario.workload.ports,
            steps=tuple(self._records),
        )

    def write(self) -> Path | None:
        """Store matrix, pictures and reports; returns the report, ``None`` if nothing was run."""
        record = self.record()
        if not record.steps:
            return None
        self.folder.write_text("matrix.json", to_text(record))
        draw(record, self.folder.path)
        return write_reports(record, self.folder)

    def _lab(self, name: str) -> Lab:
        if self._up is None or self._up[0] != name:
            self.close()
            wiring = next(one for one in self.plan.wirings if one.name == name)
            self._up = name, self._bring_up(wiring)
        return self._up[1]

    def _bring_up(self, wiring: Wiring) -> Lab:
        made = wiring.make()
        plane = made.describe().get("control_plane", "its own")
        self.say(f"{wiring.name}: bringing the cluster up, control plane: {plane}")
        cluster = self._stack.enter_context(made)
        enforcer = self.plan.make_enforcer()
        lab = Lab(
            cluster,
            enforcer,
            self.plan.scenario,
            _patience_with(enforcer, self.plan.patience),
            wiring=wiring.name,
            say=self.say,
            read=self.plan.read,
        )
        logs = self.folder.folder(f"logs/{wiring.name}")
        self._stack.enter_context(lab.ready(logs))
        self._clusters[wiring.name] = cluster.describe()
        self._enforcer = {"name": enforcer.name, **enforcer.describe()}
        return lab


def _patience_with(enforcer: Enforcer, patience: Patience) -> Patience:
    if enforcer.name != "none":
        return patience
    return dataclasses.replace(patience, stable=min(patience.stable, _STABLE_WITHOUT_ENFORCER))


def run_all(run: MatrixRun) -> Sequence[Step]:
    """Run every case on every wiring, without pytest."""
    wirings, cases = run.plan.wirings, run.plan.scenario.cases
    try:
        return [run.step(case.id, wiring.name) for wiring in wirings for case in cases]
    finally:
        run.close()
