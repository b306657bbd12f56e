"""Locust: many users over many services, in a process of its own inside the client's namespace.

Locust takes most of a core for 2,400 requests a second and is a *closed* load: a user waits for
its answer before it asks again. So its percentiles are not corrected for coordinated omission,
and its rate is not the study's QPS; the report says both.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Cluster, Place, Process
from harness.errors import HarnessError

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
PERCENTILES = ("50%", "90%", "95%", "99%", "100%")


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many users visit which URLs, from where, for how long (seconds)."""

    targets: Sequence[str]
    source: str
    users: int
    seconds: int

    def argv(self, prefix: Path) -> tuple[str, ...]:
        """Return the command line; CSV files are named ``prefix``_stats.csv and so on."""
        return (
            *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless"),
            *("--users", str(self.users), "--spawn-rate", str(self.users)),
            *("--run-time", f"{self.seconds}s", "--stop-timeout", "2"),
            *("--csv", str(prefix), "--only-summary", "--loglevel", "WARNING"),
        )

    def env(self) -> Mapping[str, str]:
        """Return what the locustfile reads."""
        return {"NPD_TARGETS": " ".join(self.targets), "NPD_SOURCE": self.source}


@dataclass(frozen=True, slots=True)
class Report:
    """What locust counted: totals, rate, and response times in milliseconds by percentile."""

    requests: int
    failures: int
    rps: float
    average_ms: float
    percentiles_ms: Mapping[str, float]
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
    return parse(prefix.with_name(f"{prefix.name}_stats.csv"), cpu, process)


def parse(stats: Path, cpu_seconds: float = 0.0, process: Process | None = None) -> Report:
    """Read locust's ``_stats.csv``; raise :class:`HarnessError` where it wrote none."""
    rows = list(csv.DictReader(stats.open(newline=""))) if stats.exists() else []
    total = next((row for row in rows if row["Name"] == "Aggregated"), None)
    if total is None:
        said = process.tail() if process else ""
        message = f"locust wrote no totals to {stats}\n{said}".rstrip()
        raise HarnessError(message)
    return Report(
        requests=int(total["Request Count"]),
        failures=int(total["Failure Count"]),
        rps=_float(total["Requests/s"]),
        average_ms=_float(total["Average Response Time"]),
        percentiles_ms={name: _float(total[name]) for name in PERCENTILES},
        cpu_seconds=cpu_seconds,
    )


def _wait(process: Process, deadline: float) -> float:
    """Wait until locust ends and return its CPU time just before."""
    cpu = 0.0
    while process.running():
        cpu = max(cpu, process.cpu_seconds())
        if time.monotonic() > deadline:
            message = f"locust did not end in time\n{process.tail()}"
            raise HarnessError(message)
        time.sleep(0.1)
    return cpu


def _float(text: str) -> float:
    return 0.0 if text in {"", "N/A"} else float(text)
