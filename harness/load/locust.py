"""Locust: many users over many services, in a process of its own inside the client's namespace.

Locust takes most of a core for 2,400 requests a second and is a *closed* load: a user waits for
its answer before it asks again. So its percentiles are not corrected for coordinated omission,
and its rate is not the study's QPS; the report says both.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from harness.clusters.base import Cluster, Place, Process
from harness.errors import HarnessError

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
PERCENTILES = (50, 90, 95, 99, 100)


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many users visit which URLs, from where, for how long (seconds)."""

    targets: Sequence[str]
    source: str
    users: int
    seconds: int

    def argv(self, prefix: Path) -> tuple[str, ...]:
        """Return the command line; it writes ``prefix``.json, and ``prefix``_stats.csv and so on.

        The totals are read from the JSON file: the CSV's last line is older than the end.
        """
        return (
            *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless"),
            *("--users", str(self.users), "--spawn-rate", str(self.users)),
            *("--run-time", f"{self.seconds}s", "--stop-timeout", "2"),
            *(
                "--csv",
                str(prefix),
                "--json-file",
                str(prefix),
                "--only-summary",
                "--loglevel",
                "WARNING",
            ),
        )

    def env(self) -> Mapping[str, str]:
        """Return the environment of the process: ours, and what the locustfile reads."""
        return {**os.environ, "NPD_TARGETS": " ".join(self.targets), "NPD_SOURCE": self.source}


@dataclass(frozen=True, slots=True)
class Report:
    """What locust counted: totals, rate, and response times in milliseconds by percentile.

    Locust keeps response times in whole milliseconds, two figures of them from 100 on.
    """

    requests: int
    failures: int
    rps: float
    average_ms: float
    percentiles_ms: Mapping[int, float]
    cpu_seconds: float = 0.0
    """CPU time of locust itself: near one core's worth, it is the limit."""


def run(cluster: Cluster, place: Place, crowd: Crowd, prefix: Path) -> Report:
    """Run locust inside ``place``; its CSV files and its log stay at ``prefix``."""
    log = prefix.with_name(f"{prefix.name}.log")
    process = cluster.spawn(place, crowd.argv(prefix), log, env=crowd.env())
    try:
        cpu = _wait(process, deadline=time.monotonic() + crowd.seconds + 60)
    finally:
        process.stop()
    return parse(prefix.with_name(f"{prefix.name}.json"), cpu, process)


def parse(totals: Path, cpu_seconds: float = 0.0, process: Process | None = None) -> Report:
    """Read locust's JSON totals; raise :class:`HarnessError` where it wrote none."""
    entries = json.loads(totals.read_text() or "[]") if totals.exists() else []
    requests = sum(entry["num_requests"] for entry in entries)
    if requests == 0:
        said = process.tail() if process else ""
        raise HarnessError(f"locust counted no request in {totals}\n{said}".rstrip())
    return Report(
        requests=requests,
        failures=sum(entry["num_failures"] for entry in entries),
        rps=requests / _span(entries),
        average_ms=sum(entry["total_response_time"] for entry in entries) / requests,
        percentiles_ms=_percentiles(entries, requests),
        cpu_seconds=cpu_seconds,
    )


def _span(entries: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds from the first user to the last answer."""
    last = max(entry["last_request_timestamp"] for entry in entries)
    return float(last - min(entry["start_time"] for entry in entries))


def _percentiles(entries: Sequence[Mapping[str, Any]], requests: int) -> dict[int, float]:
    counted: Counter[float] = Counter()
    for entry in entries:
        counted.update({float(ms): count for ms, count in entry["response_times"].items()})
    times = sorted(counted)
    below = list(accumulate(counted[ms] for ms in times))
    return {
        each: times[bisect_left(below, math.ceil(requests * each / 100))] for each in PERCENTILES
    }


def _wait(process: Process, deadline: float) -> float:
    """Wait until locust ends and return its CPU time just before."""
    cpu = 0.0
    while process.running():
        cpu = max(cpu, process.cpu_seconds())
        if time.monotonic() > deadline:
            raise HarnessError(f"locust did not end in time\n{process.tail()}")
        time.sleep(0.1)
    return cpu
