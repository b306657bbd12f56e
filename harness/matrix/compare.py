"""Outcomes in, findings out: what was seen beside what had to be seen. Pure functions.

A deny proves something only beside its positive control: in the same step the very same address
and port has answered somebody, and the same client has reached somebody else. The same control
tells what a reset means: where a listener is proved it was *rejected*, else *refused*.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.clusters.base import Outcome, Verdict
from harness.matrix.cases import Cell, first_fit
from harness.matrix.oracle import Judgement, Oracle
from harness.matrix.scenario import Expectation, Expected, Placement

_DENIED = {Verdict.DROPPED, Verdict.REJECTED}


class Mark(enum.Enum):
    """How a cell ended."""

    RIGHT = "right"
    LEAKED = "leaked"
    """Denied by policy, open on the wire."""
    BLOCKED = "blocked"
    """Allowed by policy, denied on the wire."""
    UNCLEAR = "unclear"
    """Refused, unreachable or an error: neither open nor denied, so never right."""
    UNPROVED = "unproved"
    """Denied as it had to be, but nothing proved in this step that it could have been open."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a cell has to show, and why: the hand-written sentence, and the oracle's judgement."""

    expected: Expected
    because: str
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Finding:
    """A cell after its probe."""

    cell: Cell
    wanted: Wanted
    outcome: Outcome
    mark: Mark

    @property
    def right(self) -> bool:
        """Whether everything was as expected."""
        return self.mark is Mark.RIGHT


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A cell for which the hand-written expectation and the oracle differ: a defect of ours."""

    cell: Cell
    written: Expectation
    judgement: Judgement

    def __str__(self) -> str:
        """Say who says what."""
        return (
            f"{self.cell}: written down as {self.written.verdict.value}"
            f" ({self.written.because}), but the oracle says: {self.judgement}"
        )


def wants(
    cells: Iterable[Cell], oracle: Oracle, expectations: Sequence[Expectation]
) -> tuple[list[Wanted], list[Disagreement]]:
    """Say what each cell has to show; where the two sources differ, that is told too."""
    wanted, disagreements = [], []
    for cell in cells:
        judgement = oracle.judge(cell.client.address, *cell.target)
        written = first_fit(expectations, cell)
        expected = Expected.OPEN if judgement.allowed else Expected.DENIED
        if written and written.verdict is not expected:
            disagreements.append(Disagreement(cell, written, judgement))
        because = written.because if written else str(judgement)
        wanted.append(Wanted(expected, because, judgement))
    return wanted, disagreements


def compare(
    cells: Sequence[Cell], wanted: Sequence[Wanted], outcomes: Sequence[Outcome]
) -> tuple[Finding, ...]:
    """Judge one step's outcomes, each cell with the controls that the others give it."""
    controls = _Controls.of(cells, outcomes)
    return tuple(
        _judge(cell, want, controls.resolve(cell, outcome), controls)
        for cell, want, outcome in zip(cells, wanted, outcomes, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Controls:
    """What this step has proved: who answers, and who reaches somebody."""

    listeners: frozenset[tuple[str, int]]
    targets: frozenset[tuple[str, int, str]]
    clients: frozenset[str]

    @classmethod
    def of(cls, cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> _Controls:
        seen = zip(cells, outcomes, strict=True)
        opened = [cell for cell, outcome in seen if outcome.verdict is Verdict.OPEN]
        return cls(
            listeners=frozenset((cell.server.name, cell.probe.port) for cell in opened),
            targets=frozenset(cell.target for cell in opened),
            # To reach oneself does not show that the way out of the pod works
            clients=frozenset(c.client.name for c in opened if c.placement is not Placement.SELF),
        )

    def resolve(self, cell: Cell, outcome: Outcome) -> Outcome:
        """Give a reset its meaning."""
        if outcome.verdict is not Verdict.RESET:
            return outcome
        listening = (cell.server.name, cell.probe.port) in self.listeners
        verdict = Verdict.REJECTED if listening else Verdict.REFUSED
        return dataclasses.replace(outcome, verdict=verdict)

    def prove(self, cell: Cell) -> bool:
        """Whether this cell could have been open."""
        return cell.target in self.targets and cell.client.name in self.clients


def _judge(cell: Cell, wanted: Wanted, outcome: Outcome, controls: _Controls) -> Finding:
    return Finding(cell, wanted, outcome, _mark(cell, wanted, outcome, controls))


def _mark(cell: Cell, wanted: Wanted, outcome: Outcome, controls: _Controls) -> Mark:
    denied = outcome.verdict in _DENIED
    if not denied and outcome.verdict is not Verdict.OPEN:
        return Mark.UNCLEAR
    if wanted.expected is Expected.OPEN:
        return Mark.BLOCKED if denied else Mark.RIGHT
    if not denied:
        return Mark.LEAKED
    return Mark.RIGHT if controls.prove(cell) else Mark.UNPROVED
