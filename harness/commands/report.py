"""``harness report``: draw a run's figures and report again, from what it stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from harness.errors import UsageError
from harness.report import perf
from harness.results import RunFolder


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Draw the figures and the report of the run in folder RUN again."""
    folder = _open(run)
    scenario = folder.read_json("run.json")["scenario"]
    draw = _DRAWN_BY.get(scenario)
    if draw is None:
        raise UsageError(f"{run}: no report is known for runs of {scenario!r}")
    click.echo(str(draw(folder)))


def _open(run: Path) -> RunFolder:
    if not (run / "run.json").is_file():
        raise UsageError(f"{run}: not the folder of a run: it has no run.json")
    try:
        return RunFolder.open(run)
    except ValueError as error:
        raise UsageError(str(error)) from error


_DRAWN_BY: dict[str, Callable[[RunFolder], Path]] = {"perf": perf.write}
