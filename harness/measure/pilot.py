"""A short pilot: how much work a leg is, how long a block takes, and how noisy this machine is.

The noise is learned as it will be met: by whole blocks of every cell and comparison, switched and
probed like the measured ones, in rounds that the coin orders. Of them nothing but the *spread* is
looked at, so the plan cannot know what the run will find. They are stored in ``pilot.csv``, in the
form of ``blocks.csv``, and count in no estimate. A block that the rules void (another process was
there) is asked again, once, when the machine is calm: it would tell that process's noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness import stats
from harness.errors import ClusterError
from harness.load import ab, limits
from harness.load.ab import Connections
from harness.measure import blocks, calm
from harness.measure.bench import Bench
from harness.measure.blocks import Row
from harness.measure.pace import FEWEST_ROUNDS, MOST_ROUNDS
from harness.measure.plan import Block, Cell, Design, Plan, Role, make_plan
from harness.measure.progress import Stage
from harness.stats import Spread

FILE = "pilot.csv"

_TASTE = 2000  # requests that tell the rate roughly
_MOST_REQUESTS = 200_000
_FEWEST_PER_CLIENT = 5  # requests for each of the concurrent clients, or ab measures its start


@dataclass(frozen=True, slots=True)
class Pilot:
    """What the pilot showed."""

    requests: Mapping[str, int]
    """How many requests a leg has in each cell, by :func:`condition`."""

    packets: Mapping[str, float]
    """That the measured node forwarded for a request, in either direction; by condition, too."""

    spreads: Mapping[Connections, Spread]
    """Of the log ratio of a block's legs, by kind of connection, as the estimates are pooled."""

    block_seconds: float
    """What a block took on average, switches and probes included."""

    asked_again: int = 0
    """How many blocks were void, and asked again."""

    def sees(self, design: Design) -> dict[Connections, float]:
        """Return the smallest effect that the estimate of each kind of connection will see."""
        pairs = design.pairs_per_estimate
        return {kind: spread.sees(pairs) for kind, spread in self.spreads.items()}

    def rounds_for(self, precision: float, design: Design) -> int:
        """Return the rounds after which every estimate sees ``precision``, at most a bound."""
        one_round = replace(design, rounds=1).pairs_per_estimate
        most = MOST_ROUNDS * one_round
        needed = max(stats.pairs_for(precision, each, most) for each in self.spreads.values())
        return max(FEWEST_ROUNDS, math.ceil(needed / one_round))


def condition(cell: Cell) -> str:
    """Name a cell without its size: a leg is the same work in every size."""
    return f"{cell.placement.value}-{cell.connections.value}-c{cell.concurrency}"


def plan_of(design: Design, rounds: int, seed: int) -> Plan:
    """Return the pilot's own blocks: the first size's sweep, drawn by another coin."""
    swept = replace(design, sizes=design.sizes[:1], rounds=rounds, elsewhere=())
    return make_plan(swept, seed + 1)


def run(bench: Bench, design: Design, plan: Plan, stage: Stage) -> Pilot:
    """Learn the rate of each condition of the design, then run the pilot's blocks."""
    requests: dict[str, int] = {}
    packets: dict[str, float] = {}
    for cell in tastes(design):
        taste = _taste(bench, cell)
        requests[condition(cell)] = _requests(taste.rps * design.leg_seconds, cell)
        packets[condition(cell)] = taste.packets
        stage.advance(detail=f"{taste.rps:,.0f} requests/s")
    blocks.begin(bench.folder.path / FILE)
    started = time.monotonic()
    rows = _run(bench, plan.blocks, requests, stage)
    each = (time.monotonic() - started) / len(plan.blocks)
    void = {row.block for row in rows if row.void}
    again = [
        replace(block, number=block.number + len(plan.blocks))
        for block in plan.blocks
        if block.number in void
    ]
    if again:
        stage.advance(0, f"{len(again)} blocks are void, and asked again when the machine is calm")
        calmed = replace(bench, of_itself=calm.rest().of_itself)
        rows += _run(calmed, again, requests)
    return Pilot(
        requests=requests,
        packets=packets,
        spreads={kind: spread_of(rows, kind) for kind in plan.design.connections},
        block_seconds=each,
        asked_again=len(again),
    )


def _run(
    bench: Bench, chosen: Sequence[Block], requests: Mapping[str, int], stage: Stage | None = None
) -> list[Row]:
    rows: list[Row] = []
    for block in chosen:
        measured = bench.run(block, requests[condition(block.cell)])
        blocks.append(bench.folder.path / FILE, measured)
        rows.extend(measured)
        if stage is not None:
            stage.advance()
    return rows


def tastes(design: Design) -> list[Cell]:
    """Return a cell of each condition: the largest size has them all."""
    return list(design.cells(design.sizes[-1]))


def steps(design: Design, plan: Plan) -> int:
    """Return how many units of progress a pilot has."""
    return len(tastes(design)) + len(plan.blocks)


def spread_of(rows: Sequence[Row], kind: Connections) -> Spread:
    """Return the spread of the valid blocks of a kind of connection, each comparison by itself."""
    logs: dict[tuple[int, Role], float] = {}
    groups: dict[str, list[int]] = {}
    for row in rows:
        if row.connections is kind and not row.void:
            logs[row.block, row.role] = math.log(row.rps)
            if row.position == 1:
                of = f"{row.comparison.value} {row.enforcer}"
                groups.setdefault(of, []).append(row.block)
    return stats.spread(
        [
            [logs[block, Role.TEST] - logs[block, Role.REFERENCE] for block in numbers]
            for numbers in groups.values()
        ]
    )


def _requests(wanted: float, cell: Cell) -> int:
    fewest = max(50, _FEWEST_PER_CLIENT * cell.concurrency)
    return max(fewest, min(_MOST_REQUESTS, int(wanted)))


@dataclass(frozen=True, slots=True)
class _Taste:
    rps: float
    packets: float


def _taste(bench: Bench, cell: Cell) -> _Taste:
    cluster, target = bench.switch.cluster, bench.target
    work = target.work(cell, max(_TASTE, 20 * cell.concurrency))
    before = limits.forwarded(cluster, target.nodes[0])
    done = ab.run(cluster, target.place(cell), work)
    if done.error or done.report is None:
        message = f"the pilot failed: {' '.join(work.argv())}: {done.error}"
        raise ClusterError(message)
    packets = limits.forwarded(cluster, target.nodes[0]) - before
    return _Taste(done.report.rps, packets / done.report.requests)
