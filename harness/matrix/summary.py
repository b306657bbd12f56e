"""What the terminal says at the end of a run: twenty lines at most."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Console

from harness.matrix.compare import Mark
from harness.matrix.record import MatrixRecord
from harness.matrix.table import (
    Answer,
    Group,
    Result,
    answer,
    failures,
    grouped,
    not_reached,
    results,
)
from harness.matrix.tally import Tally

LINES = 20
_FAILURES = 5
_ANSWERS = {
    Answer.YES: "[green]yes[/]",
    Answer.NO: "[bold red]no[/]",
    Answer.PARTIAL: "[bold yellow]nothing wrong so far[/]",
}
_STYLES = {Result.PASS: "green", Result.FAIL: "bold red", Result.NOT_RUN: "dim"}


def print_summary(console: Console, record: MatrixRecord) -> None:
    """Print the answer, the study's rows, the groups, what failed, and where the time went."""
    for line in list(summary(record))[:LINES]:
        console.print(line, highlight=False, overflow="ellipsis", no_wrap=True)


def summary(record: MatrixRecord) -> Iterator[str]:
    """Yield the lines, as rich prints them."""
    yield _answer(record)
    yield from _study(record)
    yield from _groups(record)
    yield from _failed(record)
    yield from _not_run(record)
    coverage = record.coverage
    yield (
        f"pairs of axis values: {coverage.met} of {coverage.pairs - coverage.impossible} met"
        f" ({coverage.impossible} impossible)"
    )
    yield _convergence(record)
    yield from _time(record)


def _answer(record: MatrixRecord) -> str:
    marks: Counter[Mark] = Counter()
    tally = Tally(record)
    for step in record.steps:
        for cell, count in tally.of(step).items():
            marks[cell.mark] += count
    probes, fine = sum(marks.values()), marks[Mark.RIGHT]
    rest = {mark: count for mark, count in marks.items() if mark is not Mark.RIGHT}
    told = ", ".join(f"{count} {mark.value}" for mark, count in rest.items()) or "none wrong"
    word = _ANSWERS[answer(record)]
    name = record.enforcer.get("name", "?")
    where = len({step.environment for step in record.steps})
    return (
        f"[bold]Is {name} correct? {word}[/]: {fine} of {probes} verdicts right, {told};"
        f" {where} environments"
    )


def _study(record: MatrixRecord) -> Iterator[str]:
    """Yield the study's rows, a line a wiring: the study's own result where ours is another."""
    rows = [(row, by) for row, by in results(record) if row.study]
    for name in record.environments:
        told = []
        for row, by in rows:
            ours, study = by[name], row.study.value if row.study else "-"
            if ours.result is Result.NOT_RUN:
                continue
            short = row.id.rpartition("-")[2].lstrip("0")
            differs = f" (study {study})" if ours.result.value != study else ""
            told.append(f"{short} [{_STYLES[ours.result]}]{ours}[/]{differs}")
        if told:
            yield f"study on {name}: " + ", ".join(told)


def _groups(record: MatrixRecord) -> Iterator[str]:
    wrong = Counter((one.case, one.environment) for one in failures(record))
    told = []
    for group in record.groups:
        cases = {case.id for case in record.cases if case.group == group.name}
        runs = {(s.case, s.environment) for s in record.steps if s.case in cases}
        bad = sum((case, where) in wrong for case, where in runs)
        style = "bold red" if bad else "green"
        ran = {case for case, _ in runs}
        if runs:
            told.append(f"{group.name} [{style}]{len(ran)}{f', {bad} wrong' if bad else ''}[/]")
    yield "cases: " + "; ".join(told)


def _failed(record: MatrixRecord) -> Iterator[str]:
    found: list[Group] = grouped(failures(record))
    for group in found[:_FAILURES]:
        yield f"[red]{_plain(group.headline())}[/]"
    if len(found) > _FAILURES:
        yield f"[red]... and {len(found) - _FAILURES} groups more, all in the report[/]"
    for one in record.gone_deviations:
        yield f"[yellow]declared deviation {one} did not happen: take it out of the profile[/]"


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _not_run(record: MatrixRecord) -> Iterator[str]:
    if left := not_reached(record):
        yield f"[yellow]partial: {left}[/]"
    told = [f"{one.axis}={one.value}: {one.reason}" for one in record.not_run]
    if told:
        yield "[dim]not run: " + _plain("; ".join(told)) + "[/]"


def _convergence(record: MatrixRecord) -> str:
    settled = [(s.settled, s.case) for s in record.steps if s.settled is not None and s.due]
    look = _look(record)
    if not settled:
        return f"converged: never; {look}"
    times = sorted(seconds for seconds, _ in settled)
    slowest, case = max(settled)
    never = sum(step.settled is None for step in record.steps)
    late = f", never {never}" if never else ""
    return (
        f"converged: median {statistics.median(times) * 1000:.0f} ms, slowest"
        f" {slowest * 1000:.0f} ms ({case}){late}; {look}"
    )


def _look(record: MatrixRecord) -> str:
    """Say how long it takes to ask everything once, in the step in the middle."""
    looks = sorted((s.look, len(s.cells.marks)) for s in record.steps if s.number) or [(0.0, 0)]
    seconds, connections = looks[len(looks) // 2]
    return f"a look at {connections} connections takes {seconds * 1000:.0f} ms"


_MAKING = ("clusters", "pods", "guard", "enforcer")
"""What has to be done before a cluster's first case: behind the one in use, where two fit."""
_TOLD = 0.5
"""Seconds; what took less is not told."""


def _time(record: MatrixRecord) -> Iterator[str]:
    """Say what the run was held up by, and what the making of labs took, behind it or not."""
    spent: Counter[str] = Counter()
    for one in record.environments.values():
        spent.update(one.spent)
    making = {what: spent.pop(what) for what in _MAKING if what in spent}
    yield f"time: {record.seconds:.0f} s; {_seconds(spent)}"
    yield f"making clusters ready: {_seconds(making)}"


def _seconds(spent: Mapping[str, float]) -> str:
    longest = sorted(spent.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{what} {seconds:.0f} s" for what, seconds in longest if seconds >= _TOLD)
