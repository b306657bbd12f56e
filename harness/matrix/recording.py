"""Writing a run down while it goes on: what was seen, by columns, each name and reason once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import yaml

from harness.matrix.axes import State
from harness.matrix.cases import Cell
from harness.matrix.compare import Finding
from harness.matrix.model import Case, Row
from harness.matrix.record import (
    CaseRecord,
    Columns,
    Connection,
    EndRecord,
    ReasonRecord,
    RefusalRecord,
    StepRecord,
    StepText,
    letters,
)
from harness.matrix.scenario import Scenario
from harness.matrix.steps import CaseRun, Step


@dataclass
class Recorder:
    """Collects steps. Equal ends, layouts and reasons are stored once."""

    ends: dict[EndRecord, int] = field(default_factory=dict)
    layouts: dict[tuple[Connection, ...], int] = field(default_factory=dict)
    reasons: dict[ReasonRecord, int] = field(default_factory=dict)
    steps: list[StepRecord] = field(default_factory=list)

    def add(self, run: CaseRun) -> None:
        """Write a case's steps down, and what lingered after it."""
        self.steps += [self._step(step) for step in run.steps]
        if run.lingering:
            self.steps.append(
                StepRecord(
                    run.case.id,
                    run.wiring,
                    0,
                    State.NEW,
                    run.removed.seconds,
                    run.removed.wait,
                    self.columns(run.removed.findings),
                    due=run.removed.due,
                )
            )

    def _step(self, step: Step) -> StepRecord:
        return StepRecord(
            case=step.case.id,
            environment=step.wiring,
            number=step.number,
            state=step.spec.state,
            settled=step.applied.seconds,
            wait=step.applied.wait,
            cells=self.columns(step.applied.findings),
            established=self.columns(step.established) if step.established else None,
            refusals=tuple(RefusalRecord(one.name, one.said) for one in step.refusals),
            disagreements=tuple(map(str, step.disagreements)),
            evidence=step.evidence,
            due=step.applied.due,
            look=round(step.applied.whole, 3),
            started=step.spec.started,
        )

    def columns(self, findings: Sequence[Finding]) -> Columns:
        """Write one look down."""
        layout = tuple(self._connection(finding.cell) for finding in findings)
        return Columns(
            layout=self.layouts.setdefault(layout, len(self.layouts)),
            expected=letters(one.wanted.expected for one in findings),
            observed=letters(one.outcome.verdict for one in findings),
            marks=letters(one.mark for one in findings),
            direction=letters(one.wanted.judgement.isolation for one in findings),
            reasons=tuple(self._reason(one) for one in findings),
            stories={
                at: tuple((round(when, 4), verdict) for when, verdict in one.story)
                for at, one in enumerate(findings)
                if one.story
            },
            details={
                at: one.outcome.detail
                for at, one in enumerate(findings)
                if one.outcome.detail and not one.right
            },
            slowest=round(_slowest(findings), 6),
        )

    def _connection(self, cell: Cell) -> Connection:
        return Connection(
            self._end(EndRecord(cell.client.name, cell.client.node)),
            self._end(EndRecord(cell.server.name, cell.server.node)),
            cell.kind,
            cell.placement,
            cell.protocol,
            cell.port,
            _target(cell),
        )

    def _end(self, end: EndRecord) -> int:
        return self.ends.setdefault(end, len(self.ends))

    def _reason(self, finding: Finding) -> int:
        wanted = finding.wanted
        sentence, decisive = str(wanted.judgement), wanted.judgement.reasons[-1]
        because = wanted.because if wanted.because != sentence else ""
        made = ReasonRecord(sentence, because, decisive.policies, decisive.rule)
        return self.reasons.setdefault(made, len(self.reasons))


def _target(cell: Cell) -> str:
    address, port, _ = cell.target
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}" if port else host


def _slowest(findings: Iterable[Finding]) -> float:
    answered = (one.outcome.seconds for one in findings if one.outcome.verdict.value != "dropped")
    return max(answered, default=0.0)


def record_cases(scenario: Scenario) -> tuple[CaseRecord, ...]:
    """Write the rows of a group down, in the order of their ids among the study's."""
    after: dict[str, list[CaseRecord]] = {}
    for row in scenario.rows:
        after.setdefault(row.taken_from[-1], []).append(_record_row(scenario, row))
    return tuple(
        one
        for case in scenario.cases
        for one in (_record_case(scenario, case), *after.get(case.id, ()))
    )


def _record_case(scenario: Scenario, case: Case) -> CaseRecord:
    steps = tuple(
        StepText(step.words(), to_yaml(scenario.manifests([*step.refuse, *step.apply])))
        for step in case.all_steps()
    )
    return CaseRecord(case.id, scenario.name, case.rule, case.source, case.study, steps)


def _record_row(scenario: Scenario, row: Row) -> CaseRecord:
    return CaseRecord(
        row.id,
        scenario.name,
        row.rule,
        study=row.study,
        taken_from=row.taken_from,
        placements=row.placements,
    )


def to_yaml(manifests: Iterable[object]) -> str:
    """Write manifests as kubectl takes them."""
    return "---\n".join(yaml.safe_dump(one, sort_keys=False) for one in manifests)
