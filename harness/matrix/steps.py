"""What a step of a case came to, and the case with all of its steps."""

from __future__ import annotations

from dataclasses import dataclass

from harness.matrix.actions import Refusal
from harness.matrix.compare import Disagreement, Finding
from harness.matrix.model import Case, StepSpec
from harness.matrix.watching import Settled


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a case on one wiring, and the whole matrix after it."""

    case: Case
    wiring: str
    number: int
    spec: StepSpec
    applied: Settled
    disagreements: tuple[Disagreement, ...] = ()
    established: tuple[Finding, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    evidence: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return every cell as it was after the step, new connections and held ones."""
        return (*self.applied.findings, *self.established)

    @property
    def right(self) -> bool:
        """Whether everything was as expected."""
        refused = all(one.said is not None for one in self.refusals)
        return refused and not self.disagreements and all(one.right for one in self.findings)


@dataclass(frozen=True, slots=True)
class CaseRun:
    """A case on one wiring: its steps, and the matrix once everything was taken back."""

    case: Case
    wiring: str
    steps: tuple[Step, ...]
    removed: Settled
    seconds: float = 0.0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return every cell of every step."""
        return tuple(finding for step in self.steps for finding in step.findings)

    @property
    def lingering(self) -> tuple[Finding, ...]:
        """Return the cells that did not open again after everything was taken back."""
        return tuple(finding for finding in self.removed.findings if not finding.right)

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """Return where hand-written expectations and the oracle differ."""
        return tuple(one for step in self.steps for one in step.disagreements)

    @property
    def right(self) -> bool:
        """Whether everything was as expected."""
        return all(step.right for step in self.steps) and not self.lingering
