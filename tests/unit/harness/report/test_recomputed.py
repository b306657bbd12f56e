"""The stored runs recomputed by a script that shares nothing with the harness: raw files alone.

From each ab output its figures, from these the pairs, from the pairs what ``report.md`` says.
"""

from __future__ import annotations

import csv
import math
import random
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[4] / "results" / "reference"
RUNS = sorted(path.parent for path in REFERENCE.glob("*/blocks.csv"))

Leg = dict[str, str]
Key = tuple[str, str, str, str]
"""Comparison, enforcer, size and kind of connections, as the files have them."""

FIGURE = re.compile(r"\[([0-9.]+) \(([0-9.]+) to ([0-9.]+)\)\]")


def number(text: str, label: str) -> float:
    """Return a figure of ab's output; 0 where it has none."""
    found = re.search(rf"^{label}:\s+([0-9.]+)", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def legs(run: Path) -> list[Leg]:
    """Return the rows of blocks.csv."""
    with (run / "blocks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def seconds_a_request(leg: Leg) -> float:
    """Return CPU seconds a request: of the path where it is known, else of the machine."""
    machine = float(leg["cpu_seconds"]) - float(leg["enforcer_cpu_seconds"])
    return (float(leg.get("path_cpu_seconds") or 0) or machine) / int(leg["requests"])


def logs(run: Path) -> dict[Key, list[tuple[float, float]]]:
    """Return the log ratios of the sweep's valid blocks: of ab's own rates, and of CPU time."""
    blocks: dict[str, dict[str, Leg]] = defaultdict(dict)
    for leg in legs(run):
        blocks[leg["block"]][leg["role"]] = leg
    found: dict[Key, list[tuple[float, float]]] = defaultdict(list)
    for block in blocks.values():
        test, reference = block["test"], block["reference"]
        if test["void"] == "yes" or test["placement"] != "outside-service":
            continue
        rates = [
            number((run / each["raw"]).read_text(), "Requests per second")
            for each in block.values()
        ]
        rate = dict(zip(block, rates, strict=True))
        kind = "keep-alive" if test["keepalive"] == "yes" else "new"
        key = (test["comparison"], test["enforcer"], test["size"], kind)
        cpu = math.log(seconds_a_request(test) / seconds_a_request(reference))
        found[key].append((math.log(rate["test"] / rate["reference"]), cpu))
    return found


def tables(run: Path) -> Iterator[list[str]]:
    """Yield the rows of the report's two tables of headlines, as cells."""
    text = (run / "report.md").read_text().partition("## Estimates")[2].partition("\n## ")[0]
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in {"new", "keep-alive"}:
            yield cells


def said(cell: str) -> tuple[float, float, float]:
    """Return a ratio of the report and its interval."""
    found = FIGURE.search(cell)
    assert found is not None, cell
    ratio, low, high = map(float, found.groups())
    return ratio, low, high


def flipped(values: list[float], draws: int = 2000) -> float:
    """Return the share of random signs with which the sum is as far from 0."""
    coin = random.Random(1)
    far = sum(
        abs(sum(value * coin.choice((-1, 1)) for value in values)) >= abs(sum(values)) - 1e-12
        for _ in range(draws)
    )
    return far / draws


def resembles(interval: tuple[float, float], values: list[float]) -> bool:
    """Whether an interval is about as wide as the values' standard error makes it."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = (math.log(interval[1]) - math.log(interval[0])) / 2
    return 1.2 * error <= half + 0.001 <= 6 * error + 0.002


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_row_is_what_ab_said(run: Path) -> None:
    """Rate, requests and failures of each leg are those of its raw output."""
    for leg in legs(run):
        raw = (run / leg["raw"]).read_text()
        failed = number(raw, "Failed requests") + number(raw, "Non-2xx responses")
        assert float(leg["rps"]) == pytest.approx(number(raw, "Requests per second"), abs=0.006)
        assert int(leg["requests"]) == number(raw, "Complete requests")
        assert int(leg["failed"]) == failed


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_headline_follows_from_the_raw_files(run: Path) -> None:
    """Ratio and A/A control to the last digit, the number of pairs, p and the interval's width."""
    pairs = logs(run)
    rows = list(tables(run))
    rates, times = rows[: len(rows) // 2], rows[len(rows) // 2 :]

    for at, table in enumerate((rates, times)):
        for cells in table:
            kind, size = cells[:2]
            name, effect, p = cells[3 - at : 6 - at]
            mine = [both[at] for both in pairs["on/off", name, size, kind]]
            ratio, *interval = said(effect)
            assert ratio == pytest.approx(math.exp(statistics.fmean(mine)), abs=0.0006)
            assert resembles((interval[0], interval[1]), mine), (cells, interval)
            told = 0.001 if p.startswith("<") else float(p)
            assert told == pytest.approx(flipped(mine), abs=0.035)
            control = [both[at] for both in pairs["a/a", "none", size, kind]]
            aa = said(cells[7 - at])[0]
            assert aa == pytest.approx(math.exp(statistics.fmean(control)), abs=0.0006)
            assert at or int(cells[-1]) == len(mine)
