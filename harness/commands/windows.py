"""``harness functional --windows``: how long an enforcer is wrong after a change."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from harness.clusters import make_cluster
from harness.enforcers import make_enforcer
from harness.measure.windows.instrument import EVENTS
from harness.measure.windows.record import Found, never_table, table
from harness.measure.windows.run import Bench
from harness.measure.windows.tape import RATE
from harness.options import ClusterSettings, require_embedded
from harness.report.windows import draw
from harness.results import RunFolder


def measure(settings: ClusterSettings, enforcer: str, results: Path, events: int = EVENTS) -> Path:
    """Measure the windows on one cluster; returns the path of the report, which is printed."""
    require_embedded(settings, "--windows")
    folder = RunFolder.create(
        results,
        cluster=settings.cluster,
        scenario="windows",
        command=["harness", *sys.argv[1:]],
        settings={**dataclasses.asdict(settings), "enforcer": enforcer, "events": events},
    )
    with make_cluster(settings) as cluster:
        made = make_enforcer(enforcer)
        found = Bench(cluster, made, folder.folder("logs"), events, click.echo).run()
        facts = {"enforcer": {**made.describe()}, "cluster": {**cluster.describe()}}
    folder.write_json("windows.json", found.stored() | {"rate": RATE})
    draw(found.series, folder.folder("figures"))
    report = folder.write_text("report.md", "\n".join(_report(enforcer, found)) + "\n")
    folder.finish("passed", **facts)
    click.echo("\n".join([*table(found.series), "", *never_table(found.never)]))
    click.echo(report)
    return report


def _report(enforcer: str, found: Found) -> Iterator[str]:
    yield f"# For how long is {enforcer} wrong after a change?"
    yield ""
    yield (
        f"{RATE} probes a second of each kind, from one pod to a pod of another node. A window is"
        " the time from the API server's acknowledgement of a change to the first probe after the"
        " last wrong one, in milliseconds; *resolution* is how much earlier that last wrong probe"
        " was sent. An event counts only where the opposite state was seen just before. The floor"
        " is what the same instrument says of a change that alters nothing: windows near it are"
        " not told from none. *new*: a TCP connection for each probe. *established*: one UDP flow."
    )
    yield ""
    yield from table(found.series)
    yield ""
    yield "What may not be wrong at any time:"
    yield ""
    yield from never_table(found.never)
    yield ""
    yield "![Shares of events by milliseconds](figures/windows.svg)"
