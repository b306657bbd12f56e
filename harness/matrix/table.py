"""The study's table with our result beside the study's, and the list of what failed."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.matrix.axes import State
from harness.matrix.record import CaseRecord, CellView, MatrixRecord, StepRecord
from harness.matrix.tally import Seen, Tally


class Result(enum.Enum):
    """How a row ended in one environment."""

    PASS = "Pass"  # noqa: S105  # not a password
    FAIL = "Fail"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row in one environment: its result, and how many of its cells were not as expected."""

    result: Result
    wrong: int = 0
    total: int = 0

    def __str__(self) -> str:
        """Return ``Pass 0/648`` or ``Fail 18/54``: wrong cells of all cells."""
        if self.result is Result.NOT_RUN:
            return str(self.result.value)
        return f"{self.result.value} {self.wrong}/{self.total}"


def row_result(tally: Tally, row: CaseRecord, environment: str) -> RowResult:
    """Judge a row: its steps' cells, without those that another row takes out of it."""
    record = tally.record
    named = row.taken_from or (row.id,)
    steps = {name: record.steps_of(name, environment) for name in named}
    if not all(steps.values()):
        return RowResult(Result.NOT_RUN)
    wrong = total = 0
    good = True
    for step in (one for found in steps.values() for one in found):
        good = good and not step.disagreements and all(r.said is not None for r in step.refusals)
        for cell, count in _cells_of(tally, row, step):
            total += count
            wrong += 0 if cell.right else count
    return RowResult(Result.PASS if good and not wrong else Result.FAIL, wrong, total)


def _cells_of(tally: Tally, row: CaseRecord, step: StepRecord) -> Iterator[tuple[Seen, int]]:
    takers = [one for one in tally.record.cases if step.case in one.taken_from]
    taken = {placement for one in takers for placement in one.placements}
    for cell, count in tally.of(step).items():
        # What lingers after a case is its own; what did open again was counted before
        if step.number == 0 and cell.right:
            continue
        if (cell.placement in row.placements) if row.taken_from else (cell.placement not in taken):
            yield cell, count


def results(record: MatrixRecord) -> list[tuple[CaseRecord, dict[str, RowResult]]]:
    """Return each row of the table with its result in each environment."""
    tally = Tally(record)
    return [
        (row, {name: row_result(tally, row, name) for name in record.environments})
        for row in record.cases
    ]


class Answer(enum.Enum):
    """Whether the enforcer is correct, as far as a run can say."""

    YES = "yes"
    NO = "no"
    PARTIAL = "partial"
    """Nothing was wrong, but not everything that was planned was run."""


def answer(record: MatrixRecord) -> Answer:
    """Answer the run's question. What is wrong is wrong, however much is left to run."""
    if failures(record):
        return Answer.NO
    return Answer.PARTIAL if record.missing() else Answer.YES


def not_reached(record: MatrixRecord) -> str:
    """Say how much of the plan was not run; empty where all of it was."""
    missing, planned = len(record.missing()), record.planned
    if not missing:
        return ""
    runs = sum(map(len, planned.values()))
    whole = len(planned.keys() - {step.environment for step in record.steps})
    nothing = f"; nothing ran on {whole} of {len(planned)} clusters" if whole else ""
    return f"{missing} of {runs} runs of cases were not reached{nothing}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that was not as expected, and where and when."""

    case: str
    environment: str
    step: StepRecord
    state: State
    cell: CellView

    @property
    def when(self) -> str:
        """Say at which step, in words that go behind a case's id."""
        if self.step.number == 0:
            return ", everything taken back"
        held = ", held connection" if self.state is State.ESTABLISHED else ""
        return f" step {self.step.number}{held}"


def _marks(step: StepRecord) -> str:
    return step.cells.marks + (step.established.marks if step.established else "")


def failures(record: MatrixRecord) -> list[Failure]:
    """Return all cells that were not as expected, in the order of the run."""
    return [
        Failure(step.case, step.environment, step, state, cell)
        for step in record.steps
        if set(_marks(step)) - {".", "k"}
        for state, cell in record.all_views(step)
        if not cell.right
    ]


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that differ in their port alone."""

    first: Failure
    ports: tuple[int, ...]

    def headline(self) -> str:
        """Say where, from, to, by which address, expected and observed."""
        one, cell = self.first, self.first.cell
        ports = ", ".join(map(str, self.ports))
        return (
            f"{one.case} {one.environment}{one.when} {cell.placement.value}:"
            f" {cell.client} -> {cell.server} by {cell.kind.value} {cell.connection.target},"
            f" {cell.protocol.value} {ports}: expected {cell.expected.value},"
            f" observed {cell.observed.value} ({cell.mark.value})"
        )


def grouped(wrong: Iterable[Failure]) -> list[Group]:
    """Put together what differs in its port alone; the order stays."""
    ports: dict[Any, list[Failure]] = {}
    for one in wrong:
        cell = one.cell
        seen = (cell.client, cell.server, cell.kind, cell.protocol, cell.expected, cell.observed)
        key = (one.case, one.environment, one.step.number, one.state, seen, cell.mark)
        ports.setdefault(key, []).append(one)
    return [Group(same[0], tuple(one.cell.port for one in same)) for same in ports.values()]
