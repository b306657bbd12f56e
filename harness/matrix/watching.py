"""Watching a matrix until it is as it should be, or changes no more.

Convergence is waited for by condition. What has to change is known: it is what was seen last and
would be wrong now. That is looked at again and again, with a short silence; then everything, with
the full silence, and only that look is the verdict. What is wrong then is watched with the full
silence. What a cell showed before is kept: wrong for 140 ms, then right.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.clusters.base import Cluster, Outcome, Probe, Verdict
from harness.matrix.cases import Cell
from harness.matrix.compare import WRONG, Finding, Mark, Target, Wanted, compare
from harness.matrix.probing import SURE, probe_all
from harness.matrix.profiles import Manner

Forgive = Callable[[Finding], Finding]
"""Turns a wrong finding that the enforcer's profile declares into a known one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, all in seconds.

    ``probe``: the least silence that counts as dropped. ``glance``: the same while a matrix is
    watched; a verdict never rests on it. ``still``: what nothing has to change in is not believed
    sooner. ``guard``: how long a deny-all has to be without effect before no enforcer is believed
    to be there. ``stable``: a matrix that is not as expected is given up once it has not changed
    for so long. ``limit``: and given up for good.
    """

    probe: float = 0.25
    glance: float = 0.05
    guard: float = 2.0
    stable: float = 10.0
    limit: float = 90.0
    pause: float = 0.02
    still: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """The last look at a matrix that was watched until it was right, or changed no more.

    ``seconds`` is how long it took to be right for the first time; ``None``: it never was. ``wait``
    is the silence that counted as dropped, ``looked`` how long the looks took, ``whole`` how long
    the last one at everything took, ``due`` how many cells had to change.
    """

    findings: tuple[Finding, ...]
    seconds: float | None
    wait: float
    looked: float = 0.0
    due: int = 0
    whole: float = 0.0

    @property
    def right(self) -> bool:
        """Whether every cell is as expected."""
        return all(finding.right for finding in self.findings)


UNSEEN = Outcome(Verdict.ERROR, 0.0, "not looked at yet")


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
    last: Mapping[Probe, Outcome] = field(default_factory=dict)
    """What was seen before the change."""
    _outcomes: list[Outcome] = field(default_factory=list)
    _looked_at: set[int] = field(default_factory=set)
    _stories: defaultdict[int, list[tuple[float, Verdict]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _started: float = 0.0
    _changed: float = 0.0
    _wait: float = 0.0
    _whole: float = 0.0

    def __post_init__(self) -> None:
        """Begin with what was seen last."""
        self._outcomes = [self.last.get(cell.probe, UNSEEN) for cell in self.cells]

    def settle(self) -> Settled:
        """Follow what has to change until it has, or nothing changes any more; then look at all."""
        due = self._begin()
        wrong = self._follow(due, self.patience.glance)
        right_at = self._elapsed() if not wrong else None
        if not due:
            time.sleep(max(0.0, self.patience.still - self._elapsed()))
        while wrong := self._look_at_all():
            if self._is_certain(wrong):
                break
            wrong = self._follow(wrong, SURE * self.patience.probe)
            right_at = self._elapsed() if not wrong else None
        return self._settled(range(len(self.cells)), right_at, len(due))

    def reopen(self) -> Settled:
        """Follow what has to change, and leave the rest alone."""
        due = self._begin()
        wrong = self._follow(due, self.patience.glance)
        while wrong and not self._is_certain(wrong):
            wrong = self._follow(wrong, SURE * self.patience.probe)
        return self._settled(due, self._elapsed(), len(due))

    def look(self) -> tuple[Finding, ...]:
        """Look once, with the full silence; at what is not as wanted once more, and longer."""
        if wrong := self._look_at_all():
            self._look(wrong, SURE * self.patience.probe)
        return self._judge()

    def _begin(self) -> list[int]:
        """Start the clock; return what would be wrong if nothing changed."""
        self._started = self._changed = time.monotonic()
        return self._wrong()

    def _follow(self, numbers: Sequence[int], wait: float) -> list[int]:
        """Look again and again; return what is wrong once nothing is, or nothing changes."""
        self._changed = time.monotonic()
        wrong = self._look(numbers, wait) if numbers else []
        while wrong and not self._is_stuck():
            time.sleep(self.patience.pause)
            seen = self._verdicts(wrong)
            still = self._look(wrong, wait)
            if self._verdicts(wrong) != seen:
                self._changed = time.monotonic()
            wrong = still
        return wrong

    def _is_certain(self, wrong: Sequence[int]) -> bool:
        """Look at what is wrong with a longer silence: whether it stays as it is, for long enough.

        On a machine that others use, an answer may be late by more than the usual silence.
        """
        seen = self._verdicts(wrong)
        self._look(wrong, SURE * self.patience.probe)
        stays = self._verdicts(wrong) == seen or self._elapsed() > self.patience.limit
        return stays and self._is_stuck()

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _is_stuck(self) -> bool:
        quiet = time.monotonic() - self._changed > self.patience.stable
        return quiet or self._elapsed() > self.patience.limit

    def _look_at_all(self) -> list[int]:
        started = time.monotonic()
        wrong = self._look(range(len(self.cells)), self.patience.probe)
        self._whole = time.monotonic() - started
        return wrong

    def _look(self, numbers: Iterable[int], wait: float) -> list[int]:
        """Probe some cells; return those of all that are wrong now."""
        asked = list(numbers)
        for at, outcome in zip(asked, self._probe(asked, wait), strict=True):
            if at in self._looked_at and outcome.verdict is not self._outcomes[at].verdict:
                self._stories[at].append((self._elapsed(), self._outcomes[at].verdict))
            self._outcomes[at] = outcome
        self._looked_at.update(asked)
        return self._wrong()

    def _probe(self, numbers: Sequence[int], wait: float) -> Sequence[Outcome]:
        probes = [self.cells[at].probe for at in numbers]
        if wait < self.patience.probe:
            return self.cluster.probe(probes, wait)
        probed = probe_all(self.cluster, probes, wait)
        self._wait = probed.wait
        return probed.outcomes

    def _verdicts(self, numbers: Iterable[int]) -> list[Verdict]:
        return [self._outcomes[at].verdict for at in numbers]

    def _wrong(self) -> list[int]:
        return [at for at, one in enumerate(self._judge()) if one.mark in WRONG]

    def _judge(self) -> tuple[Finding, ...]:
        found = compare(self.cells, self.wanted, self._outcomes, self.manner, self.before)
        return tuple(one if one.mark is Mark.RIGHT else self.forgive(one) for one in found)

    def _settled(self, numbers: Iterable[int], right_at: float | None, due: int) -> Settled:
        judged = self._judge()
        findings = [(at, judged[at]) for at in numbers]
        if any(finding.mark in WRONG for _, finding in findings):
            right_at = None
        elif right_at is None:
            right_at = self._elapsed()
        told = tuple(self._told(at, finding) for at, finding in findings)
        return Settled(told, right_at, self._wait, self._elapsed(), due, self._whole)

    def _told(self, at: int, finding: Finding) -> Finding:
        story = tuple(self._stories.get(at, ()))
        return dataclasses.replace(finding, story=story) if story else finding
