"""Outcomes in, findings out: what was seen beside what had to be seen. Pure functions.

A deny proves something only beside its positive control: in the same step the very same address
and port has answered somebody, and the same client has reached somebody else. The same control
tells what a reset means: where a listener is proved it was *rejected*, else *refused*.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from harness.clusters.base import Outcome, Verdict
from harness.matrix.axes import AddressKind, Placement
from harness.matrix.cases import Cell, first_fit
from harness.matrix.model import Expectation, Expected
from harness.matrix.oracle import Judgement, Oracle
from harness.matrix.profiles import Manner

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
    MANNER = "manner"
    """Denied as it had to be, but rejected where the enforcer's profile says drop, or dropped."""
    KNOWN = "known"
    """Wrong, as the enforcer's profile declares."""


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
    story: tuple[tuple[float, Verdict], ...] = ()
    """What was seen before, where it was not the same: seconds since the change, and verdict."""

    @property
    def right(self) -> bool:
        """Whether everything was as expected, or as declared."""
        return self.mark in FINE


FINE = {Mark.RIGHT, Mark.KNOWN}
WRONG = {Mark.LEAKED, Mark.BLOCKED, Mark.UNCLEAR, Mark.MANNER}
"""What another look may mend; UNPROVED needs another cell to change."""


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
        judgement = oracle.judge(cell.source, *cell.target)
        written = first_fit(expectations, cell)
        expected = Expected.OPEN if judgement.allowed else Expected.DENIED
        if written and written.verdict is not expected:
            disagreements.append(Disagreement(cell, written, judgement))
        because = written.because if written else str(judgement)
        wanted.append(Wanted(expected, because, judgement))
    return wanted, disagreements


def compare(
    cells: Sequence[Cell],
    wanted: Sequence[Wanted],
    outcomes: Sequence[Outcome],
    manner: Manner = Manner.ANY,
    before: Collection[Target] = frozenset(),
) -> tuple[Finding, ...]:
    """Judge one step's outcomes, each cell with the controls that the others give it.

    ``before`` are targets that have answered somebody earlier, through the same proxies.
    """
    controls = _Controls.of(cells, outcomes, before)
    findings = []
    for cell, want, raw in zip(cells, wanted, outcomes, strict=True):
        outcome = controls.resolve(cell, raw)
        mark = _mark(cell, want, outcome, controls)
        if (
            mark is Mark.RIGHT
            and outcome.verdict in _DENIED
            and not manner.permits(outcome.verdict)
        ):
            mark = Mark.MANNER
        findings.append(Finding(cell, want, outcome, mark))
    return tuple(findings)


Listener = tuple[str, int, str]
Target = tuple[str, int, str]
_NODE_PORTS = {AddressKind.NODE_PORT, AddressKind.NODE_PORT_ELSEWHERE}


@dataclass(frozen=True, slots=True)
class _Controls:
    """What this step has proved: who answers, and who reaches somebody.

    A server is proved by the very address, port and protocol; a client by whatever it reached
    beyond itself. A NodePort may be closed to all by right (behind another node everybody has that
    node's address): then the server has to answer by some address of its own, and the NodePort
    has to have worked before.
    """

    listeners: frozenset[Listener]
    targets: frozenset[Target]
    clients: frozenset[str]
    before: Collection[Target]

    @classmethod
    def of(
        cls, cells: Sequence[Cell], outcomes: Sequence[Outcome], before: Collection[Target]
    ) -> _Controls:
        seen = zip(cells, outcomes, strict=True)
        opened = [cell for cell, outcome in seen if outcome.verdict is Verdict.OPEN]
        return cls(
            listeners=frozenset(map(_listener, opened)),
            targets=frozenset(cell.target for cell in opened),
            # To reach oneself does not show that the way out of the pod works
            clients=frozenset(c.client.name for c in opened if c.placement is not Placement.SELF),
            before=before,
        )

    def resolve(self, cell: Cell, outcome: Outcome) -> Outcome:
        """Give a reset its meaning."""
        if outcome.verdict is not Verdict.RESET:
            return outcome
        listening = _listener(cell) in self.listeners
        verdict = Verdict.REJECTED if listening else Verdict.REFUSED
        return dataclasses.replace(outcome, verdict=verdict)

    def prove(self, cell: Cell) -> bool:
        """Whether this cell could have been open."""
        served = cell.target in self.targets
        if cell.kind in _NODE_PORTS and not served:
            served = _listener(cell) in self.listeners and cell.target in self.before
        return served and cell.client.name in self.clients


def _listener(cell: Cell) -> Listener:
    return cell.server.name, cell.port, cell.probe.protocol


def _mark(cell: Cell, wanted: Wanted, outcome: Outcome, controls: _Controls) -> Mark:
    denied = outcome.verdict in _DENIED
    if not denied and outcome.verdict is not Verdict.OPEN:
        return Mark.UNCLEAR
    if wanted.expected is Expected.OPEN:
        return Mark.BLOCKED if denied else Mark.RIGHT
    if not denied:
        return Mark.LEAKED
    return Mark.RIGHT if controls.prove(cell) else Mark.UNPROVED
