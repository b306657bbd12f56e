"""Locust: arrivals at a constant rate over many services, in steps, from the client's namespace.

An *open* load: requests go out by the clock, whether or not earlier ones were answered. Response
times are given from the moment at which a request was due, so that they are corrected for
coordinated omission, and from the moment at which it was sent. A process of locust is good for some
2,000 requests a second; what it takes of its core is watched, and a step in which it was at its
limit says nothing about the Services: it is void, and says so.
"""

from __future__ import annotations

import itertools
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

BUSY = 0.9
"""Share of its core from which on a process of locust counts as being at its limit."""

LEAST_ARRIVED = 0.95
"""Of the requests of a step, at least so many have to have been sent."""

RULES = (
    f"a step in which a process of locust took more than {BUSY:.0%} of a core",
    f"a step in which fewer than {LEAST_ARRIVED:.0%} of the requests that were due were sent",
)
"""When a step is void, declared beforehand."""

SILENCE_SECONDS = 10
"""So long do the last requests have to be answered, as all others; the locustfile says the same."""

_CPU = "cpu"
"""Suffix of the folder with each process's CPU time."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Arrivals a second, one rate after another: tens, since a user stands for ten a second."""

    rates: tuple[int, ...]
    each: float
    """Seconds of a step."""

    processes: int = 1
    """Of locust, each on a core of its own; where it runs in pods, as many workers."""

    image: str = ""
    """What such pods run; empty where there are none."""

    @property
    def seconds(self) -> float:
        """How long all steps take."""
        return len(self.rates) * self.each


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who visits which URLs, and from where."""

    targets: Sequence[str]
    source: str
    steps: Steps

    def argv(self, prefix: Path) -> tuple[str, ...]:
        """Return the command line; it writes ``prefix``.json, and ``prefix``_stats.csv and so on.

        The totals are read from the JSON file: the CSV's last line is older than the end.
        """
        several = ("--processes", str(self.steps.processes)) if self.steps.processes > 1 else ()
        return (
            *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless"),
            *several,
            *("--stop-timeout", str(SILENCE_SECONDS)),
            *("--csv", str(prefix), "--json-file", str(prefix)),
            *("--only-summary", "--loglevel", "WARNING"),
        )

    def env(self, prefix: Path) -> Mapping[str, str]:
        """Return the environment of the process: ours, and what the locustfile reads."""
        folder = _cpu_folder(prefix)
        folder.mkdir(parents=True, exist_ok=True)
        return {
            **os.environ,
            "NPD_TARGETS": " ".join(self.targets),
            "NPD_SOURCE": self.source,
            "NPD_RATES": " ".join(map(str, self.steps.rates)),
            "NPD_STEP_SECONDS": str(self.steps.each),
            "NPD_CPU": str(folder.absolute()),
        }


@dataclass(frozen=True, slots=True)
class Times:
    """Response times in milliseconds by percentile.

    Locust keeps them in whole milliseconds, two figures of them from 100 on.
    """

    requests: int
    failures: int
    percentiles_ms: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step showed."""

    rate: int
    """Arrivals a second that were asked for."""

    arrived: float
    """Requests a second that were sent."""

    arrival: Times
    """From the moment at which a request was due: corrected for coordinated omission."""

    service: Times
    """From the moment at which it was sent."""

    busiest: float
    """Share of a core that the busiest process of locust took."""

    void: str
    """Why it does not count, or ``""``."""


@dataclass(frozen=True, slots=True)
class Report:
    """What locust counted, in all and step by step."""

    requests: int
    failures: int
    rps: float
    steps: tuple[Step, ...]


def run(cluster: Cluster, place: Place, crowd: Crowd, prefix: Path) -> Report:
    """Run locust inside ``place``; its CSV files and its log stay at ``prefix``."""
    log = prefix.with_name(f"{prefix.name}.log")
    process = cluster.spawn(place, crowd.argv(prefix), log, env=crowd.env(prefix))
    try:
        _wait(process, deadline=time.monotonic() + crowd.steps.seconds + 60)
    finally:
        process.stop()
    return parse(prefix, crowd.steps, process)


def parse(prefix: Path, steps: Steps, process: Process | None = None) -> Report:
    """Read what locust wrote; raise :class:`HarnessError` where it counted nothing."""
    totals = prefix.with_name(f"{prefix.name}.json")
    entries = json.loads(totals.read_text() or "[]") if totals.exists() else []
    times = {entry["name"]: _times(entry) for entry in entries}
    shares = busiest(_cpu_folder(prefix), len(steps.rates))
    found = tuple(
        _step(steps, rate, (times.get(f"{at} arrival"), times.get(f"{at} service")), shares[at])
        for at, rate in enumerate(steps.rates)
    )
    requests = sum(step.arrival.requests for step in found)
    if requests == 0:
        said = process.tail() if process else ""
        raise HarnessError(f"locust counted no request in {totals}\n{said}".rstrip())
    failures = sum(step.arrival.failures for step in found)
    return Report(requests, failures, requests / steps.seconds, found)


def busiest(folder: Path, steps: int) -> list[float]:
    """Return the share of a core that the busiest process took in each step."""
    shares = [0.0] * steps
    for path in folder.glob("*.txt"):
        notes = [[float(field) for field in line.split()] for line in path.read_text().splitlines()]
        for (step, at, cpu), (_, then, spent) in itertools.pairwise(notes):
            if step < steps and then > at:
                shares[int(step)] = max(shares[int(step)], (spent - cpu) / (then - at))
    return shares


_NOTHING = Times(0, 0, {})


def _step(steps: Steps, rate: int, times: tuple[Times | None, Times | None], share: float) -> Step:
    arrival, service = (each or _NOTHING for each in times)
    arrived = arrival.requests / steps.each
    return Step(rate, arrived, arrival, service, share, _void(rate, arrived, share))


def _void(rate: int, arrived: float, share: float) -> str:
    if share > BUSY:
        return f"a process of locust took {share:.0%} of a core"
    if arrived < LEAST_ARRIVED * rate:
        return f"{arrived:.0f} of {rate} requests a second were sent"
    return ""


def _times(entry: Mapping[str, Any]) -> Times:
    requests = int(entry["num_requests"])
    counted: Counter[float] = Counter()
    counted.update({float(ms): count for ms, count in entry["response_times"].items()})
    times = sorted(counted)
    below = list(accumulate(counted[ms] for ms in times))
    percentiles = {
        each: times[bisect_left(below, math.ceil(requests * each / 100))] for each in PERCENTILES
    }
    return Times(requests, int(entry["num_failures"]), percentiles)


def _cpu_folder(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}-{_CPU}")


def _wait(process: Process, deadline: float) -> None:
    while process.running():
        if time.monotonic() > deadline:
            raise HarnessError(f"locust did not end in time\n{process.tail()}")
        time.sleep(0.1)
