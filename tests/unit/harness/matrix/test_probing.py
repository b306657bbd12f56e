"""How long silence has to last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from harness.clusters.base import NodeRef, Outcome, Probe, Verdict
from harness.matrix.probing import probe_all

FAST, SLOW = (Probe(NodeRef("n1"), address, 80) for address in ("10.0.0.1", "10.0.0.2"))


class Lagging:
    """A cluster whose second server takes its time, the first one too."""

    def __init__(self, first: float, second: float) -> None:
        self.takes = {FAST: first, SLOW: second}
        self.waits: list[float] = []

    def probe(self, probes: Sequence[Probe], timeout: float) -> list[Outcome]:
        """Answer those that are fast enough."""
        self.waits.append(timeout)
        return [
            Outcome(Verdict.OPEN, self.takes[probe])
            if self.takes[probe] <= timeout
            else Outcome(Verdict.DROPPED, timeout)
            for probe in probes
        ]


def test_slow_answers_make_silence_longer() -> None:
    """Silence counts only after ten times the slowest answer, so a slow server is not dropped."""
    probed = probe_all(cast("Any", Lagging(first=0.1, second=0.6)), [FAST, SLOW], 0.25)

    assert [one.verdict for one in probed.outcomes] == [Verdict.OPEN, Verdict.OPEN]


def test_fast_answers_leave_the_wait_as_it_is() -> None:
    """Where answers are fast, the wait that was asked for is enough."""
    cluster = Lagging(first=0.001, second=60.0)
    probed = probe_all(cast("Any", cluster), [FAST, SLOW], 0.25)

    assert (probed.wait, cluster.waits) == (0.25, [0.25])
    assert probed.outcomes[1].verdict is Verdict.DROPPED
