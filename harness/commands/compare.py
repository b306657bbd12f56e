"""``harness compare``: what became of the costs, from one perf run to another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from harness.commands.report import open_run
from harness.errors import UsageError
from harness.measure import blocks
from harness.options import PatientArgument, PatientCommand
from harness.report import findings
from harness.report.comparison import Change, changes, unlike
from harness.results import RunFolder, enforcers_of
from harness.stats import Estimate


def _perf_run(ctx: click.Context, param: click.Parameter, path: Path) -> RunFolder:
    """Find out now whether this is a perf run's folder."""
    del ctx, param
    folder = open_run(path)
    if not (path / blocks.FILE).is_file():
        raise UsageError(f"{path}: not a perf run: it has no {blocks.FILE}")
    return folder


_RUN = partial(
    click.argument, cls=PatientArgument, callback=_perf_run, type=click.Path(path_type=Path)
)


@click.command(cls=PatientCommand)
@_RUN("first")
@_RUN("second")
@click.option("--unlike", "told", is_flag=True, help="Compare runs of unlike machines, too.")
def command(first: RunFolder, second: RunFolder, told: bool) -> None:  # noqa: FBT001  # as click calls it
    """Compare the perf runs in the folders FIRST and SECOND: their ratios, never their rates."""
    runs = first, second
    differences = unlike(*runs)
    if differences and not told:
        said = "\n".join(f"  {each}" for each in differences)
        raise UsageError(f"the runs are not of like machines:\n{said}\nto compare still: --unlike")
    found = list(changes(*runs))
    if not found:
        raise UsageError(f"{first.path} and {second.path} have no condition in common")
    for line in _table(runs, differences, found):
        click.echo(line)


def _table(
    runs: tuple[RunFolder, RunFolder], differences: list[str], found: list[Change]
) -> list[str]:
    names = [
        f"{run.path.name} ({', '.join(enforcers_of(run.read_json('run.json')))})" for run in runs
    ]
    rows = [
        f"| {each.connections.value} | {each.size} | {each.enforcer} {each.comparison.value} "
        f"| {_ratio(each.first.rate)} | {_ratio(each.second.rate)} | {_factor(each)} "
        f"| {each.verdict} |"
        for each in found
    ]
    return [
        f"First: {names[0]}; second: {names[1]}",
        *(f"Unlike: {each}" for each in differences),
        "",
        "| connections | pods a service | arm | first | second | second / first (95 %) | verdict |",
        "|---|---:|---|---|---|---|---|",
        *rows,
    ]


def _ratio(estimate: Estimate | None) -> str:
    return findings.ratio(estimate) if estimate else "no block counts"


def _factor(change: Change) -> str:
    if change.factor is None:
        return "unknown"
    ratio, low, high = change.factor
    return f"{ratio:.3f} ({low:.3f} to {high:.3f})"
