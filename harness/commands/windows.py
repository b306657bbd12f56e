"""``harness functional --windows``: how long an enforcer is wrong after a change."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click
from rich.console import Console

from harness.clusters import make_cluster
from harness.clusters.base import Cluster
from harness.commands.ending import Ending
from harness.enforcers import make_enforcer
from harness.enforcers.base import Enforcer
from harness.measure.progress import Narrator
from harness.measure.windows import record
from harness.measure.windows.instrument import EVENTS
from harness.measure.windows.run import Bench
from harness.measure.windows.tape import RATE
from harness.options import ClusterSettings, require_embedded
from harness.report import windows as report
from harness.results import RunFolder


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A run that is about to begin: who is asked, where, and who is told."""

    cluster: Cluster
    enforcer: Enforcer
    folder: RunFolder
    narrator: Narrator
    events: int

    def measure(self) -> None:
        """Bring the cluster up, measure, and store what was found."""
        with self.cluster as cluster:
            self.folder.note(shape={**cluster.describe()})
            logs = self.folder.folder("logs")
            bench = Bench(cluster, self.enforcer, logs, self.events, self.narrator.say)
            found = bench.run()
            self.folder.note(enforcer={**self.enforcer.describe()})
        self.folder.write_json(record.FILE, found.stored() | {"rate": RATE})
        lines = [*record.table(found.series), "", *record.never_table(found.never)]
        click.echo("\n".join(lines))


def measure(settings: ClusterSettings, enforcer: str, results: Path, events: int = EVENTS) -> int:
    """Measure the windows on one cluster; print the report's path and return the exit code."""
    require_embedded(settings, "--windows")
    narrator = Narrator(Console(highlight=False))
    cluster, made = make_cluster(settings, narrator.tell), make_enforcer(enforcer)
    folder = RunFolder.create(
        results,
        cluster=settings.cluster,
        scenario="windows",
        command=["harness", *sys.argv[1:]],
        settings={**dataclasses.asdict(settings), "enforcer": enforcer, "events": events},
    )
    run = Run(cluster, made, folder, narrator, events)
    code = Ending(folder, narrator, report.write).of(run.measure, lambda: "passed")
    click.echo(str(folder.path / report.FILE))
    return code
