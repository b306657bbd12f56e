"""The study's table with our result beside the study's, and the list of what failed."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.matrix.record import CaseRecord, CellRecord, MatrixRecord, StepRecord


class Result(enum.Enum):
    """How a row ended on one wiring."""

    PASS = "Pass"  # noqa: S105  # not a password
    FAIL = "Fail"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row on one wiring: its result, and how many of its cells were not as expected."""

    result: Result
    wrong: int = 0
    total: int = 0

    def __str__(self) -> str:
        """Return ``Pass 0/648`` or ``Fail 18/54``: wrong cells of all cells."""
        if self.result is Result.NOT_RUN:
            return str(self.result.value)
        return f"{self.result.value} {self.wrong}/{self.total}"


def row_result(record: MatrixRecord, row: CaseRecord, wiring: str) -> RowResult:
    """Judge a row: its step's cells, without those that another row takes out of it."""
    named = row.taken_from or (row.id,)
    steps = [step for name in named if (step := record.step(name, wiring))]
    if len(steps) < len(named):
        return RowResult(Result.NOT_RUN)
    cells = [cell for step in steps for cell in _cells_of(record, row, step)]
    wrong = sum(not cell.right for cell in cells)
    good = not wrong and not any(step.disagreements for step in steps)
    return RowResult(Result.PASS if good else Result.FAIL, wrong, len(cells))


def _cells_of(record: MatrixRecord, row: CaseRecord, step: StepRecord) -> Iterator[CellRecord]:
    takers = [one for one in record.cases if step.case in one.taken_from]
    taken = {placement for one in takers for placement in one.placements}
    for cell in (*step.cells, *step.lingering):
        if (cell.placement in row.placements) if row.taken_from else (cell.placement not in taken):
            yield cell


def results(record: MatrixRecord) -> list[tuple[CaseRecord, dict[str, RowResult]]]:
    """Return each row of the table with its result on each wiring."""
    return [
        (row, {name: row_result(record, row, name) for name in record.wirings})
        for row in record.cases
    ]


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that was not as expected, and where and when."""

    case: str
    wiring: str
    cell: CellRecord
    after_removal: bool


def failures(record: MatrixRecord) -> list[Failure]:
    """Return all cells that were not as expected, in the order of the run."""
    found = []
    for step in record.steps:
        for late, cells in ((False, step.cells), (True, step.lingering)):
            wrong = (cell for cell in cells if not cell.right)
            found += [Failure(step.case, step.wiring, cell, late) for cell in wrong]
    return found


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that differ in their port alone."""

    first: Failure
    ports: tuple[int, ...]

    def headline(self) -> str:
        """Say where, from, to, by which address, expected and observed."""
        one, cell = self.first, self.first.cell
        when = ", policy removed" if one.after_removal else ""
        ports = ", ".join(map(str, self.ports))
        return (
            f"{one.case} {one.wiring} {cell.placement.value}{when}: {cell.client} -> {cell.server}"
            f" by {cell.kind.value} {cell.address}, {cell.protocol} {ports}:"
            f" expected {cell.expected.value}, observed {cell.observed.value}"
            f" ({cell.mark.value})"
        )


def grouped(wrong: Iterable[Failure]) -> list[Group]:
    """Put together what differs in its port alone; the order stays."""
    ports: dict[Any, list[Failure]] = {}
    for one in wrong:
        cell = one.cell
        seen = (cell.client, cell.server, cell.kind, cell.expected, cell.observed, cell.mark)
        ports.setdefault((one.case, one.wiring, one.after_removal, seen), []).append(one)
    return [Group(same[0], tuple(one.cell.port for one in same)) for same in ports.values()]


_STYLES = {Result.PASS: "green", Result.FAIL: "bold red", Result.NOT_RUN: "dim"}
SHOWN = 30
"""Groups of failures shown in the terminal; all of them are in the report."""


def print_table(console: Console, record: MatrixRecord) -> None:
    """Print the study's table with our result for each wiring."""
    table = Table(title="Wrong cells of all cells, beside the study's result", show_lines=True)
    table.add_column("Row", no_wrap=True)
    table.add_column("Test case", ratio=1)
    table.add_column("Study", no_wrap=True)
    for wiring in record.wirings:
        table.add_column(wiring, no_wrap=True)
    for row, by_wiring in results(record):
        study = row.study.value if row.study else "-"
        ours = [f"[{_STYLES[one.result]}]{one}[/]" for one in by_wiring.values()]
        table.add_row(row.id, row.title, study, *ours)
    console.print(table)


def print_failures(console: Console, record: MatrixRecord) -> None:
    """Print what failed: from, to, address, expected, observed, and what should have decided."""
    wrong = failures(record)
    groups = grouped(wrong)
    if wrong:
        console.print(f"\n[bold]What failed: {len(wrong)} cells[/]")
    for group in groups[:SHOWN]:
        console.print(group.headline(), style="red", highlight=False, markup=False)
        console.print(f"    {group.first.cell.reason}", highlight=False, markup=False)
    if len(groups) > SHOWN:
        console.print(f"... and {len(groups) - SHOWN} groups more, all of them in the report")
