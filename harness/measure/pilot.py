"""A short pilot with enforcement off: how much work a leg is, and how noisy this machine is."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness import stats
from harness.clusters.base import Cluster
from harness.errors import ClusterError
from harness.load import ab
from harness.measure.bench import Target
from harness.measure.plan import Cell, Design
from harness.measure.progress import Stage

_TASTE = 2000  # requests that tell the rate roughly
_MOST_REQUESTS = 200_000
_FEWEST_PER_CLIENT = 5  # requests for each of the concurrent clients, or ab measures its start


@dataclass(frozen=True, slots=True)
class Pilot:
    """What the pilot showed."""

    requests: Mapping[str, int]
    """How many requests a leg has in each cell, by :func:`condition`."""

    sd: float
    """Spread of the log ratio of two equal legs, one after the other."""

    leg_overhead: float
    """Seconds that a leg took beside ab's own time."""

    def sees(self, design: Design) -> float:
        """Return the smallest effect that a headline estimate will be able to see."""
        return stats.smallest_visible(self.sd, design.pairs_per_estimate)


def condition(cell: Cell) -> str:
    """Name a cell without its size: a leg is the same work in every size."""
    return f"{cell.placement.value}-{cell.connections.value}-c{cell.concurrency}"


def run(cluster: Cluster, target: Target, design: Design, stage: Stage) -> Pilot:
    """Run every cell of the first size: once to learn its rate, twice to learn the noise."""
    requests: dict[str, int] = {}
    ratios: list[float] = []
    overheads: list[float] = []
    for cell in design.cells(design.sizes[0]):
        taste = _run(cluster, target, target.work(cell, max(_TASTE, 20 * cell.concurrency)))
        wanted = _requests(taste.rps * design.leg_seconds, cell)
        requests[condition(cell)] = wanted
        started = time.monotonic()
        legs = [_run(cluster, target, target.work(cell, wanted)) for _ in range(2)]
        overheads.append((time.monotonic() - started - sum(leg.seconds for leg in legs)) / 2)
        ratios.append(math.log(legs[0].rps / legs[1].rps))
        stage.advance(detail=f"{legs[1].rps:,.0f} requests/s")
    return Pilot(requests, _spread(ratios), statistics.fmean(overheads))


def _spread(ratios: Iterable[float]) -> float:
    """Root mean square: the mean of an A/A ratio is known to be 0."""
    return math.sqrt(statistics.fmean(ratio**2 for ratio in ratios))


def _requests(wanted: float, cell: Cell) -> int:
    fewest = max(50, _FEWEST_PER_CLIENT * cell.concurrency)
    return max(fewest, min(_MOST_REQUESTS, int(wanted)))


def _run(cluster: Cluster, target: Target, work: ab.Work) -> ab.Report:
    done = ab.run(cluster, target.client, work)
    if done.error or done.report is None:
        message = f"the pilot failed: {' '.join(work.argv())}: {done.error}"
        raise ClusterError(message)
    return done.report
