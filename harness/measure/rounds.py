"""The blocks of one size, round after round, until all are done or the size's time is over.

A size that takes longer than planned (a machine that others use) ends after a whole round, so
that the run keeps its budget: decided by the clock alone, never by what was measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import stats
from harness.measure import blocks
from harness.measure.bench import Bench
from harness.measure.pace import FEWEST_ROUNDS
from harness.measure.pilot import condition
from harness.measure.plan import Comparison, Plan, Role
from harness.measure.progress import Narrator
from harness.workload.sweep import counted

SLACK = 1.15
"""How much longer than planned a size may take before it ends early."""


_RESAMPLES = 200  # of an estimate that is shown in passing


@dataclass(frozen=True, slots=True)
class Course:
    """What is run: the plan, the work of a leg, and the time of a size."""

    plan: Plan
    requests: Mapping[str, int]
    """Of a leg, by :func:`~harness.measure.pilot.condition`."""

    block_seconds: float | None
    """Planned for each block; None: as long as it takes."""

    done: frozenset[int] = frozenset()
    """Numbers of the blocks that an earlier part of the run has stored."""

    def time_for(self, size: int) -> float:
        """Return the seconds for the blocks of a size that are still to be done."""
        if self.block_seconds is None:
            return math.inf
        left = sum(block.number not in self.done for block in self.plan.of_size(size))
        return self.block_seconds * left


def measure(size: int, course: Course, bench: Bench, narrator: Narrator) -> int:
    """Run the blocks of a size, each stored as it ends; return how many rounds were done."""
    path = bench.folder.path / blocks.FILE
    todo = course.plan.of_size(size)
    each = course.plan.design.blocks_in_round(size)
    deadline = time.monotonic() + SLACK * course.time_for(size)
    tally = _Tally(course.plan.seed)
    amount = counted(size, course.plan.design.quantity)
    with narrator.stage(f"measuring {amount}", len(todo)) as stage:
        for index, block in enumerate(todo):
            if block.number in course.done:
                stage.advance()
                continue
            rounds, within = divmod(index, each)
            if within == 0 and rounds >= FEWEST_ROUNDS and time.monotonic() > deadline:
                narrator.say(f"the time for {amount} is over after {rounds} rounds")
                return rounds
            rows = bench.run(block, course.requests[condition(block.cell)])
            blocks.append(path, rows)
            tally.count(rows)
            stage.advance(detail=str(tally))
    return len(todo) // each


class _Tally:
    """The estimates so far, for the person who waits: of each enforcer, with its interval."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ratios: dict[str, list[float]] = {}
        self._void = 0

    def count(self, rows: tuple[blocks.Row, blocks.Row]) -> None:
        test, reference = sorted(rows, key=lambda row: row.role is not Role.TEST)
        self._void += test.void
        if not test.void and test.comparison is Comparison.EFFECT:
            ratio = math.log(test.rps / reference.rps)
            self._ratios.setdefault(test.enforcer, []).append(ratio)

    def __str__(self) -> str:
        parts = [self._said(*each) for each in self._ratios.items()]
        return ", ".join([*parts, f"{self._void} void"] if self._void else parts)

    def _said(self, name: str, ratios: Sequence[float]) -> str:
        found = stats.estimate(ratios, self._seed, _RESAMPLES)
        low, high = found.interval
        bounds = f" ({low:.3f} to {high:.3f})" if math.isfinite(high) else ""
        return f"{name} on/off {found.ratio:.3f}{bounds}"
