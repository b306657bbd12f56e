"""Connections that are open before a change, and what became of them after it."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from harness.clusters.base import Cluster, Held, Outcome, Probe, Verdict
from harness.matrix.axes import Protocol
from harness.matrix.cases import Cell
from harness.matrix.compare import Finding, Mark, Wanted
from harness.matrix.model import Expected
from harness.matrix.oracle import Oracle
from harness.matrix.probing import SURE, ask_all
from harness.matrix.profiles import Established, Profile
from harness.matrix.watching import Patience

_FORGOTTEN = {Protocol.UDP, Protocol.ICMP}
"""What the kernel forgets after some silence, without an end of the connection (conntrack(8))."""
_LONGEST = 3.0
"""Seconds, at most, in which nothing changes before a wrong connection is believed to be."""
_FEWEST = 0.4
"""Seconds of silence, at least, that tell a cut connection from one that TCP will mend."""
_ASKED_AGAIN = 3
"""How often, at least, a connection that is wrong is asked again before that is believed."""


@dataclass
class Holding:
    """Connections under way. Leaving it as a context closes them."""

    cluster: Cluster | None
    cells: Sequence[Cell] = ()
    held: list[Held] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def none(cls) -> Self:
        """Hold nothing."""
        return cls(None)

    @classmethod
    def open(cls, cluster: Cluster, cells: Sequence[Cell], last: Mapping[Probe, Outcome]) -> Self:
        """Open one of each pair's connections a kind of address and protocol; keep what opens.

        What was closed when it was last looked at is not tried.
        """
        port = min((cell.port for cell in cells if cell.port), default=0)
        shut = {probe for probe, seen in last.items() if seen.verdict is not Verdict.OPEN}
        asked = [one for one in cells if one.port in {port, 0} and one.probe not in shut]
        held = cluster.hold([cell.probe for cell in asked], 1.0)
        return cls(cluster, asked, held)

    def ask(self, oracle: Oracle, profile: Profile, patience: Patience) -> tuple[Finding, ...]:
        """Ask every connection that had opened whether it still carries bytes, and judge that.

        What is wrong is asked again until it is right or has not changed for some time: TCP mends
        what was lost, but on a machine that others use not within the usual silence.
        """
        if self.cluster is None:
            return ()
        opened = [
            (cell, one)
            for cell, one in zip(self.cells, self.held, strict=True)
            if one.outcome.verdict is Verdict.OPEN
        ]
        wait, longest = max(patience.probe, _FEWEST), min(patience.stable, _LONGEST)
        probed = ask_all(self.cluster, [one for _, one in opened], wait)
        findings = [
            _found(cell, _wanted(cell, oracle, profile), outcome, profile)
            for (cell, _), outcome in zip(opened, probed.outcomes, strict=True)
        ]
        changed = time.monotonic()
        for again in itertools.count():
            wrong = [at for at, one in enumerate(findings) if not one.right]
            patient = again < _ASKED_AGAIN or time.monotonic() - changed < longest
            if not wrong or not patient:
                break
            time.sleep(patience.pause)
            probed = ask_all(self.cluster, [opened[at][1] for at in wrong], SURE * wait)
            for at, outcome in zip(wrong, probed.outcomes, strict=True):
                before, findings[at] = findings[at], self._now(findings[at], outcome, profile)
                if findings[at].story != before.story:
                    changed = time.monotonic()
        return tuple(findings)

    def _now(self, before: Finding, outcome: Outcome, profile: Profile) -> Finding:
        """Judge a connection that was asked again, with what it showed before."""
        story = before.story
        if outcome.verdict is not before.outcome.verdict:
            story = (*story, (time.monotonic() - self.since, before.outcome.verdict))
        found = _found(before.cell, before.wanted, outcome, profile)
        return dataclasses.replace(found, story=story)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self.cluster is not None:
            self.cluster.release(self.held)


def _wanted(cell: Cell, oracle: Oracle, profile: Profile) -> Wanted:
    judgement = oracle.judge(cell.source, *cell.target)
    if judgement.allowed:
        return Wanted(Expected.OPEN, f"Opened before, and still allowed: {judgement}", judgement)
    match profile.established:
        case Established.REVOKE:
            because = f"Opened before; the enforcer revokes: {judgement}"
            return Wanted(Expected.DENIED, because, judgement)
        case Established.KEEP if cell.protocol not in _FORGOTTEN:
            because = f"Opened before; the enforcer keeps what lives: {judgement}"
            return Wanted(Expected.OPEN, because, judgement)
        case Established.KEEP | Established.ANY:
            return Wanted(
                Expected.DENIED, f"Opened before, and forbidden now: {judgement}", judgement
            )


def _found(cell: Cell, wanted: Wanted, outcome: Outcome, profile: Profile) -> Finding:
    return Finding(cell, wanted, outcome, _mark(wanted, outcome.verdict, profile))


def _mark(wanted: Wanted, verdict: Verdict, profile: Profile) -> Mark:
    """Judge a held connection: that it had opened is its positive control."""
    cut = verdict is not Verdict.OPEN
    if wanted.expected is Expected.OPEN:
        return Mark.BLOCKED if cut else Mark.RIGHT
    if cut:
        return Mark.RIGHT
    return Mark.LEAKED if profile.established is Established.REVOKE else Mark.KNOWN
