"""``harness report``: draw a run's figures and report again, from what it stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from harness.errors import UsageError
from harness.lab import errand, study
from harness.lab import report as lab_report
from harness.matrix.overview import draw_all
from harness.matrix.record import load_record
from harness.matrix.report import write_reports
from harness.measure import blocks
from harness.measure.changes import record
from harness.measure.windows import record as windows_record
from harness.report import changes, perf, windows
from harness.results import RunFolder


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Draw the figures and the report of the run in folder RUN again."""
    folder = open_run(run)
    drawn = next((draw for name, draw in _DRAWN_BY.items() if (run / name).exists()), None)
    if drawn is None:
        raise UsageError(f"{run}: nothing to draw: it has none of {', '.join(_DRAWN_BY)}")
    click.echo(str(drawn(folder)))


def open_run(run: Path) -> RunFolder:
    """Return the folder of a run; UsageError where it is none, or of another schema."""
    if not (run / "run.json").is_file():
        raise UsageError(f"{run}: not the folder of a run: it has no run.json")
    try:
        return RunFolder.open(run)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _draw_matrix(folder: RunFolder) -> Path:
    record = load_record(folder.path / "matrix.json")
    draw_all(record, folder.path)
    return write_reports(record, folder)


_DRAWN_BY: dict[str, Callable[[RunFolder], Path]] = {
    blocks.FILE: perf.write,
    record.EVENTS: changes.write,
    "matrix.json": _draw_matrix,
    study.FILE: lab_report.write,
    windows_record.FILE: windows.write,
    errand.FILE: errand.write,
}
"""What draws a run, by the stored file that it draws."""
