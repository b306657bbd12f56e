"""Connections that are open before a change, and what became of them after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from harness.clusters.base import Cluster, Held, Outcome, Verdict
from harness.matrix.axes import AddressKind, Placement, Protocol
from harness.matrix.cases import Cell
from harness.matrix.compare import Finding, Mark, Wanted
from harness.matrix.model import Expected
from harness.matrix.oracle import Oracle
from harness.matrix.probing import SURE, ask_all
from harness.matrix.profiles import Established, Profile

_KINDS = {AddressKind.POD_IP, AddressKind.CLUSTER_IP, AddressKind.EXTERNAL}
_PROTOCOLS = {Protocol.TCP, Protocol.SCTP}
_FEWEST = 0.4
"""Seconds of silence, at least, that tell a cut connection from one that TCP will mend."""
_ASKED_AGAIN = 3
"""How often a connection that should live is asked again before it is believed to be cut."""


@dataclass
class Holding:
    """Connections under way. Leaving it as a context closes them."""

    cluster: Cluster | None
    cells: Sequence[Cell] = ()
    held: list[Held] = field(default_factory=list)

    @classmethod
    def none(cls) -> Self:
        """Hold nothing."""
        return cls(None)

    @classmethod
    def open(cls, cluster: Cluster, cells: Sequence[Cell]) -> Self:
        """Open one of each pair's connections a kind of address, and keep what opens."""
        port = min((cell.port for cell in cells if cell.port), default=0)
        asked = [
            cell
            for cell in cells
            if cell.port == port
            and cell.kind in _KINDS
            and cell.protocol in _PROTOCOLS
            and cell.placement is not Placement.SELF
        ]
        held = cluster.hold([cell.probe for cell in asked], 1.0)
        return cls(cluster, asked, held)

    def ask(self, oracle: Oracle, profile: Profile, wait: float) -> tuple[Finding, ...]:
        """Ask every connection that had opened whether it still carries bytes, and judge that."""
        if self.cluster is None:
            return ()
        opened = [
            (cell, one)
            for cell, one in zip(self.cells, self.held, strict=True)
            if one.outcome.verdict is Verdict.OPEN
        ]
        wanted = [_wanted(cell, oracle, profile) for cell, _ in opened]
        outcomes = outcomes_of(self.cluster, [one for _, one in opened], wanted, wait)
        return tuple(
            Finding(cell, want, outcome, _mark(want, outcome.verdict, profile))
            for (cell, _), want, outcome in zip(opened, wanted, outcomes, strict=True)
        )

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


def outcomes_of(
    cluster: Cluster, held: Sequence[Held], wanted: Sequence[Wanted], wait: float
) -> list[Outcome]:
    """Ask held connections; those that should live and are silent again, and longer.

    TCP mends what was lost, but on a machine that others use not within the usual silence.
    """
    outcomes = list(ask_all(cluster, held, max(wait, _FEWEST)).outcomes)
    for _ in range(_ASKED_AGAIN):
        silent = [
            at
            for at, (want, outcome) in enumerate(zip(wanted, outcomes, strict=True))
            if want.expected is Expected.OPEN and outcome.verdict is Verdict.DROPPED
        ]
        if not silent:
            break
        again = ask_all(cluster, [held[at] for at in silent], SURE * wait).outcomes
        for at, outcome in zip(silent, again, strict=True):
            outcomes[at] = outcome
    return outcomes


def _wanted(cell: Cell, oracle: Oracle, profile: Profile) -> Wanted:
    judgement = oracle.judge(cell.source, *cell.target)
    if judgement.allowed:
        return Wanted(Expected.OPEN, f"Opened before, and still allowed: {judgement}", judgement)
    match profile.established:
        case Established.REVOKE:
            because = f"Opened before; the enforcer revokes: {judgement}"
            return Wanted(Expected.DENIED, because, judgement)
        case Established.KEEP:
            because = f"Opened before; the enforcer keeps what lives: {judgement}"
            return Wanted(Expected.OPEN, because, judgement)
        case Established.ANY:
            return Wanted(
                Expected.DENIED, f"Opened before, and forbidden now: {judgement}", judgement
            )


def _mark(wanted: Wanted, verdict: Verdict, profile: Profile) -> Mark:
    """Judge a held connection: that it had opened is its positive control."""
    cut = verdict is not Verdict.OPEN
    if wanted.expected is Expected.OPEN:
        return Mark.BLOCKED if cut else Mark.RIGHT
    if cut:
        return Mark.RIGHT
    return Mark.KNOWN if profile.established is Established.ANY else Mark.LEAKED
