"""Watching a matrix until it is as it should be, or changes no more.

Convergence is waited for by condition. The first look is at everything, with a short silence; what
is wrong is looked at again and again; then everything once more, with the full silence, and only
that look is the verdict. What a cell showed before is kept: wrong for 140 ms, then right.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from harness.clusters.base import Cluster, Outcome, Verdict
from harness.matrix.cases import Cell
from harness.matrix.compare import WRONG, Finding, Mark, Target, Wanted, compare
from harness.matrix.probing import probe_all
from harness.matrix.profiles import Manner

Forgive = Callable[[Finding], Finding]
"""Turns a wrong finding that the enforcer's profile declares into a known one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, all in seconds.

    ``probe``: the least silence that counts as dropped. ``glance``: the same while a matrix is
    watched; a verdict never rests on it. ``guard``: how long a deny-all has to be without effect
    before no enforcer is believed to be there. ``stable``: a matrix that is not as expected is
    given up once it has not changed for so long. ``limit``: and given up for good.
    """

    probe: float = 0.25
    glance: float = 0.05
    guard: float = 2.0
    stable: float = 10.0
    limit: float = 90.0
    pause: float = 0.02


@dataclass(frozen=True, slots=True)
class Settled:
    """The last look at a matrix that was watched until it was right, or changed no more.

    ``seconds`` is how long it took to be right for the first time; ``None``: it never was. ``wait``
    is the silence that counted as dropped, ``looked`` how long the looks took.
    """

    findings: tuple[Finding, ...]
    seconds: float | None
    wait: float
    looked: float = 0.0

    @property
    def right(self) -> bool:
        """Whether every cell is as expected."""
        return all(finding.right for finding in self.findings)


@dataclass
class Watch:
    """The cells of one step under watch."""

    cluster: Cluster
    cells: Sequence[Cell]
    wanted: Sequence[Wanted]
    patience: Patience
    manner: Manner = Manner.ANY
    forgive: Forgive = lambda finding: finding
    before: Collection[Target] = frozenset()
    """Targets that have answered somebody before."""
    _outcomes: list[Outcome] = field(default_factory=list)
    _stories: defaultdict[int, list[tuple[float, Verdict]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _started: float = 0.0
    _wait: float = 0.0

    def settle(self) -> Settled:
        """Look until everything is right, or nothing has changed for a while."""
        self._started = changed = time.monotonic()
        wrong = self._look(range(len(self.cells)), self.patience.glance)
        right_at = self._elapsed() if not wrong else None
        while True:
            if not wrong or self._is_stuck(changed):
                before = list(wrong)
                wrong = self._look(range(len(self.cells)), self.patience.probe)
                if not wrong or (before and self._is_stuck(changed)):
                    break
                changed = changed if wrong == before else time.monotonic()
            time.sleep(self.patience.pause)
            seen = self._verdicts(wrong)
            still = self._look(wrong, self.patience.glance)
            if self._verdicts(wrong) != seen:
                changed = time.monotonic()
            wrong = still
            right_at = self._elapsed() if not wrong else None
        findings = self._judge()
        if not any(finding.mark in WRONG for finding in findings):
            right_at = self._elapsed() if right_at is None else right_at
        else:
            right_at = None
        return Settled(tuple(self._told(findings)), right_at, self._wait, self._elapsed())

    def look(self) -> tuple[Finding, ...]:
        """Look once, with the full silence."""
        self._look(range(len(self.cells)), self.patience.probe)
        return self._judge()

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _is_stuck(self, changed: float) -> bool:
        quiet = time.monotonic() - changed > self.patience.stable
        return quiet or self._elapsed() > self.patience.limit

    def _look(self, numbers: Iterable[int], wait: float) -> list[int]:
        """Probe some cells; return those that are wrong now."""
        asked = list(numbers)
        probed = probe_all(self.cluster, [self.cells[at].probe for at in asked], wait)
        self._wait = probed.wait
        first = not self._outcomes
        self._outcomes = self._outcomes or list(probed.outcomes)
        for at, outcome in zip(asked, probed.outcomes, strict=True):
            if not first and outcome.verdict is not self._outcomes[at].verdict:
                self._stories[at].append((self._elapsed(), self._outcomes[at].verdict))
            self._outcomes[at] = outcome
        return [at for at, one in enumerate(self._judge()) if one.mark in WRONG]

    def _verdicts(self, numbers: Iterable[int]) -> list[Verdict]:
        return [self._outcomes[at].verdict for at in numbers]

    def _judge(self) -> tuple[Finding, ...]:
        found = compare(self.cells, self.wanted, self._outcomes, self.manner, self.before)
        return tuple(one if one.mark is Mark.RIGHT else self.forgive(one) for one in found)

    def _told(self, findings: Iterable[Finding]) -> Iterable[Finding]:
        for at, finding in enumerate(findings):
            story = tuple(self._stories.get(at, ()))
            yield dataclasses.replace(finding, story=story) if story else finding
