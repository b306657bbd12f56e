"""How long silence has to last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from harness.clusters.base import Held, NodeRef, Outcome, Probe, Verdict
from harness.matrix.compare import Wanted
from harness.matrix.holding import outcomes_of
from harness.matrix.model import Expected
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


class Late:
    """A cluster whose held connections answer a question only when it is asked for the nth time."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.asked = 0

    def ask(self, held: Sequence[Held], timeout: float) -> list[Outcome]:
        """Answer all that is asked, or nothing."""
        self.asked += 1
        open_ = self.asked >= self.answers
        verdict = Verdict.OPEN if open_ else Verdict.DROPPED
        return [Outcome(verdict, 0.001 if open_ else timeout)] * len(held)


@pytest.mark.parametrize(
    ("expected", "answers", "verdict", "asked"),
    [
        (Expected.OPEN, 1, Verdict.OPEN, 1),
        (Expected.OPEN, 3, Verdict.OPEN, 3),
        (Expected.OPEN, 9, Verdict.DROPPED, 4),
        (Expected.DENIED, 9, Verdict.DROPPED, 1),
    ],
)
def test_a_live_connection_is_asked_again_before_it_is_taken_for_cut(
    expected: Expected, answers: int, verdict: Verdict, asked: int
) -> None:
    """Who should live and is silent gets more time, some times over; who should not does not."""
    cluster, held = Late(answers), Held(FAST, Outcome(Verdict.OPEN, 0.0), 1)
    wanted = Wanted(expected, "", cast("Any", None))

    outcomes = outcomes_of(cast("Any", cluster), [held], [wanted], 0.25)

    assert [one.verdict for one in outcomes] == [verdict]
    assert cluster.asked == asked
