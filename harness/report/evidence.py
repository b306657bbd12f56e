"""Where each figure of a report comes from: a file of its pairs, each with ab's two raw outputs.

Every estimate is computed from one such file's column of log ratios and nothing else, so that any
other program can compute it again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

from harness.load.ab import Connections
from harness.measure.blocks import Row
from harness.measure.plan import NOBODY, Comparison
from harness.report import analysis
from harness.report.analysis import Analysis, Cost, Pair
from harness.results import RunFolder, file_name

FOLDER = "estimates"

COLUMNS = (
    *("block", "concurrency", "test_rps", "reference_rps", "log_ratio_rps"),
    *("test_cpu", "reference_cpu", "test_raw", "reference_raw"),
)
"""CPU in seconds per request, without the daemons'."""


def write(folder: RunFolder, rows: Sequence[Row], found: Analysis) -> None:
    """Write the file of every cost."""
    folder.folder(FOLDER)
    for cost in (*found.costs, *found.elsewhere):
        mine = (
            row
            for row in rows
            if (row.size, row.connections, row.placement)
            == (cost.size, cost.connections, cost.placement)
        )
        _write(folder, href(cost), analysis.pairs(mine, cost.comparison, cost.enforcer))


def href(cost: Cost) -> str:
    """Return the name of a cost's file, relative to the run's folder."""
    return _href(
        cost.enforcer, cost.comparison, f"s{cost.size}-{cost.placement.value}", cost.connections
    )


def headline_href(headline: analysis.Headline, comparison: Comparison) -> str:
    """Return the name of the file behind a headline's effect, or its control."""
    whose = headline.enforcer if comparison.has_enforcer else NOBODY
    where = f"s{headline.size}-{comparison.placement.value}"
    return _href(whose, comparison, where, headline.connections)


def _href(enforcer: str, comparison: Comparison, where: str, connections: Connections) -> str:
    words = (enforcer, comparison.value, where, connections.value)
    return f"{FOLDER}/{file_name('-'.join(words))}.csv"


def _write(folder: RunFolder, name: str, pairs: Iterable[Pair]) -> None:
    with (folder.path / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for pair in pairs:
            test, reference = pair.test, pair.reference
            writer.writerow(
                (
                    *(test.block, test.concurrency, f"{test.rps:.9g}", f"{reference.rps:.9g}"),
                    f"{pair.log_ratio(lambda row: row.rps):.9g}",
                    *(f"{analysis.cpu_per_request(leg):.9g}" for leg in (test, reference)),
                    *(test.raw, reference.raw),
                )
            )
