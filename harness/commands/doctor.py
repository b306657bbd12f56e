"""``harness doctor``: print what this machine can run, what is missing and what helps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.doctor import Area, Diagnosis, examine
from harness.errors import MissingError
from harness.requirements import find_tool, install_command, tools


@click.command()
def command() -> None:
    """Say what this machine can run, what is missing, and the command that helps.

    Ends with 0 where the main job can run here, else with 2.
    """
    console = Console()
    diagnoses = examine()
    console.print(overview(diagnoses))
    if any(not d.finding.present for d in diagnoses):
        console.print("\n[bold]What cannot be run here[/bold]")
        for line in limits(diagnoses):
            console.print(line, soft_wrap=True)  # a command that is broken cannot be pasted
    console.print()
    stops = [d for d in diagnoses if d.stops_main_job]
    if stops:
        raise MissingError(advice(stops))
    console.print("The main job can run here: ./nox -s perf", style="bold green")


def overview(diagnoses: Sequence[Diagnosis]) -> Table:
    """Lay all findings out, one row each, under the headings of their areas."""
    rows = Table("", "", "", box=None, pad_edge=False, show_header=False)
    for area, members in groupby(diagnoses, key=lambda d: d.check.area):
        rows.add_row("", f"[bold]{escape(area.value)}[/bold]")
        for diagnosis in members:
            finding = diagnosis.finding
            lack = "missing" if finding.tried else "not tried"
            detail = escape(finding.detail) if finding.present else lack
            rows.add_row(mark(diagnosis), diagnosis.check.name, detail)
    return rows


def limits(diagnoses: Sequence[Diagnosis]) -> Iterator[str]:
    """Yield what cannot be run for want of what is missing, each time with what helps.

    What could not be tried is left out: what stands in its way is missing itself, and told.
    """
    for diagnosis in diagnoses:
        check, finding = diagnosis.check, diagnosis.finding
        if not finding.present and finding.tried:
            yield escape(f"{check.serves}: no {check.name} ({finding.detail or 'missing'})")
            yield f"    [bold]{escape(finding.remedy)}[/bold]"


def mark(diagnosis: Diagnosis) -> str:
    """Return the sign in front of a row: there, missing and needed, or missing and optional."""
    if diagnosis.finding.present:
        return "[green]✓[/green]"
    return "[red]✗[/red]" if diagnosis.stops_main_job else "[yellow]-[/yellow]"


def advice(stops: Sequence[Diagnosis]) -> str:
    """Return one sentence with everything that the main job lacks and how to get it."""
    stops = [d for d in stops if d.finding.tried] or stops
    names = ", ".join(d.check.name for d in stops)
    programs = [d.check.name for d in stops if d.check.area is Area.TOOLS]
    absent = [name for name in programs if name in tools() and not find_tool(name)]
    remedies = [d.finding.remedy for d in stops if d.check.name not in absent]
    if absent:
        remedies.insert(0, install_command(absent))
    return f"the main job cannot run here for want of {names}; {'; '.join(dict.fromkeys(remedies))}"
