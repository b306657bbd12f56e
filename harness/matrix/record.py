"""What a run stores in ``matrix.json``: every probe with its verdict, placement and reasons.

Table, picture and reports are made from this alone, so a stored run can be drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness.clusters.base import Verdict
from harness.matrix.cases import AddressKind
from harness.matrix.compare import Finding, Mark
from harness.matrix.engine import Step
from harness.matrix.scenario import Case, Expected, Placement, Row, Scenario, StudyResult

SCHEMA = 1
"""Raised whenever a stored field changes its meaning."""


class CellRecord(msgspec.Struct, frozen=True):
    """One probe. ``policies`` and ``rule`` are what decides according to the oracle."""

    client: str
    server: str
    kind: AddressKind
    placement: Placement
    address: str
    port: int
    protocol: str
    expected: Expected
    observed: Verdict
    mark: Mark
    seconds: float
    detail: str
    because: str
    policies: tuple[str, ...]
    rule: int | None
    reason: str

    @property
    def right(self) -> bool:
        """Whether everything was as expected."""
        return self.mark is Mark.RIGHT


class StepRecord(msgspec.Struct, frozen=True):
    """A case on one wiring. ``settled`` is None where the matrix never was as expected."""

    case: str
    wiring: str
    settled: float | None
    opened: float | None
    wait: float
    cells: tuple[CellRecord, ...]
    lingering: tuple[CellRecord, ...]
    disagreements: tuple[str, ...]


class CaseRecord(msgspec.Struct, frozen=True):
    """A row of the table.

    A row without a step of its own names the cases that its cells are ``taken_from``, and the
    ``placements`` that it takes out of their rows.
    """

    id: str
    title: str
    study: StudyResult | None
    policies: dict[str, str] = {}
    taken_from: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()


class End(msgspec.Struct, frozen=True):
    """A client or server, and its node (empty outside)."""

    name: str
    node: str


class MatrixRecord(msgspec.Struct, frozen=True):
    """A whole run."""

    schema: int
    scenario: str
    enforcer: dict[str, Any]
    wirings: dict[str, dict[str, Any]]
    cases: tuple[CaseRecord, ...]
    ends: tuple[End, ...]
    ports: tuple[int, ...]
    steps: tuple[StepRecord, ...]

    def step(self, case: str, wiring: str) -> StepRecord | None:
        """Find a step; ``None`` where it was not run."""
        found = (one for one in self.steps if (one.case, one.wiring) == (case, wiring))
        return next(found, None)


def record_step(step: Step) -> StepRecord:
    """Write a step down."""
    return StepRecord(
        case=step.case.id,
        wiring=step.wiring,
        settled=step.applied.seconds,
        opened=step.removed.seconds,
        wait=step.applied.wait,
        cells=tuple(map(_record_cell, step.findings)),
        lingering=tuple(map(_record_cell, step.lingering)),
        disagreements=tuple(map(str, step.disagreements)),
    )


def _record_cell(finding: Finding) -> CellRecord:
    cell, wanted = finding.cell, finding.wanted
    decisive = wanted.judgement.reasons[-1]
    return CellRecord(
        client=cell.client.name,
        server=cell.server.name,
        kind=cell.kind,
        placement=cell.placement,
        address=cell.probe.address,
        port=cell.probe.port,
        protocol=cell.probe.protocol,
        expected=wanted.expected,
        observed=finding.outcome.verdict,
        mark=finding.mark,
        seconds=round(finding.outcome.seconds, 6),
        detail=finding.outcome.detail,
        because=wanted.because,
        policies=decisive.policies,
        rule=decisive.rule,
        reason=str(wanted.judgement),
    )


def record_cases(scenario: Scenario) -> tuple[CaseRecord, ...]:
    """Write the rows of the table down, in the order of their ids among the study's."""
    cases = [_record_case(scenario, case) for case in scenario.cases]
    rows = [_record_row(row) for row in scenario.rows]
    after: dict[str, list[CaseRecord]] = {}
    for row in rows:
        after.setdefault(row.taken_from[-1], []).append(row)
    return tuple(one for case in cases for one in (case, *after.get(case.id, ())))


def _record_case(scenario: Scenario, case: Case) -> CaseRecord:
    texts = {name: (scenario.path.parent / name).read_text() for name in case.policies}
    return CaseRecord(case.id, case.title, case.study, texts)


def _record_row(row: Row) -> CaseRecord:
    return CaseRecord(
        row.id, row.title, row.study, taken_from=row.taken_from, placements=row.placements
    )


def record_ends(step: Step) -> tuple[End, ...]:
    """Write down who was there, in the order of the matrix."""
    ends = (end for finding in step.findings for end in (finding.cell.client, finding.cell.server))
    return tuple(dict.fromkeys(End(end.name, end.node) for end in ends))


def to_text(record: MatrixRecord) -> str:
    """Write a run as JSON, one cell a line: a file that grep and diff can read."""
    return "".join(_lines(record))


def _lines(record: MatrixRecord) -> Iterator[str]:
    head: dict[str, Any] = msgspec.to_builtins(record)
    steps = head.pop("steps")
    yield msgspec.json.format(msgspec.json.encode(head), indent=1).decode()[:-2] + ',\n "steps": ['
    for at, step in enumerate(steps):
        lists = {name: step.pop(name) for name in ("cells", "lingering")}
        yield ("" if at == 0 else ",") + "\n" + _text(step)[:-1]
        for name, cells in lists.items():
            yield f', "{name}": [' + ",\n".join(_each(cells)) + "]"
        yield "}"
    yield "\n]}\n"


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _each(cells: Iterable[Any]) -> list[str]:
    return [_text(cell) for cell in cells]


def load_record(path: Path) -> MatrixRecord:
    """Read a stored run; its schema must be ours."""
    record = msgspec.json.decode(path.read_bytes(), type=MatrixRecord)
    if record.schema != SCHEMA:
        message = f"{path}: a matrix of schema {record.schema}; this harness reads {SCHEMA}"
        raise ValueError(message)
    return record
