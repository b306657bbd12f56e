"""``report.html`` (one file, no network) and ``report.md`` of a functional run."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import jinja2

from harness.matrix.axes import AXES
from harness.matrix.compare import Mark
from harness.matrix.record import EnvironmentRecord, MatrixRecord, StepRecord
from harness.matrix.table import Group, failures, grouped, not_reached, results
from harness.matrix.tally import Seen, Tally, seen_of
from harness.results import RunFolder

_FAILURES_SHOWN = 2000
"""Groups of failures listed in a report; ``matrix.json`` has every probe."""


def write_reports(record: MatrixRecord, folder: RunFolder) -> Path:
    """Write both reports beside the pictures, and return the path of ``report.html``."""
    story = _story(record, folder)
    folder.write_text("report.md", _render("functional.md.j2", story))
    return folder.write_text("report.html", _render("functional.html.j2", story))


def _story(record: MatrixRecord, folder: RunFolder) -> dict[str, Any]:
    groups = grouped(failures(record))
    study = [(row, by) for row, by in results(record) if row.study or row.group == "study"]
    ran = [name for name in record.environments if any(s.environment == name for s in record.steps)]
    return {
        "record": record,
        "run": folder.read_json("run.json"),
        "env": folder.read_json("env.json"),
        "partial": not_reached(record),
        "study": study,
        "environments": ran,
        "failures": groups[:_FAILURES_SHOWN],
        "hidden": max(0, len(groups) - _FAILURES_SHOWN),
        "disagreements": [text for step in record.steps for text in step.disagreements],
        "picture": _inline(folder.path / "matrix.svg"),
        "picture_dark": _inline(folder.path / "matrix-dark.svg"),
        "panels": _inline(folder.path / "study.svg"),
        "probes": sum(len(step.cells.marks) for step in record.steps),
        "wait": max((step.wait for step in record.steps), default=0.0),
        "slow": slowest_steps(record),
        "data": _data(record, groups[:_FAILURES_SHOWN]),
    }


def slowest_steps(record: MatrixRecord, count: int = 12) -> list[StepRecord]:
    """Return the steps that took longest to be as expected."""
    settled = [step for step in record.steps if step.settled is not None and step.due]
    return sorted(settled, key=lambda step: -(step.settled or 0.0))[:count]


def axis_values(environment: EnvironmentRecord, cell: Seen) -> list[str]:
    """Return the value of each axis of a cell, in the order of the axes."""
    known = {
        "placement": cell.placement.value,
        "address": cell.address.value,
        "proxy": environment.proxy,
        "wiring": environment.wiring,
        "direction": cell.direction.value,
        "protocol": cell.protocol.value,
        "family": cell.family.value,
        "state": cell.state.value,
    }
    return [known[axis] for axis in AXES]


def _data(record: MatrixRecord, groups: list[Group]) -> str:
    """Return what the report's filter works on, as JSON that may stand in a page."""
    counts: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    tally = Tally(record)
    for step in record.steps:
        environment = record.environments[step.environment]
        for cell, count in tally.of(step).items():
            counts[tuple(axis_values(environment, cell))][cell.mark.value] += count
    cases = {
        case.id: {
            "rule": case.rule,
            "source": case.source,
            "steps": [[step.words, step.policies] for step in case.steps],
        }
        for case in record.cases
        if case.steps
    }
    data = {
        "axes": list(AXES),
        "right": Mark.RIGHT.value,
        "counts": [[*values, dict(marks)] for values, marks in counts.items()],
        "failures": [_failure(record, group) for group in groups],
        "cases": cases,
    }
    return json.dumps(data).replace("<", "\\u003c")


def _failure(record: MatrixRecord, group: Group) -> dict[str, Any]:
    one, cell = group.first, group.first.cell
    environment = record.environments[one.environment]
    return {
        "axes": axis_values(environment, seen_of(one.state, cell)),
        "case": one.case,
        "environment": one.environment,
        "step": one.step.number,
        "client": cell.client,
        "server": cell.server,
        "target": cell.connection.target,
        "ports": list(group.ports),
        "expected": cell.expected.value,
        "observed": cell.observed.value,
        "mark": cell.mark.value,
        "detail": cell.detail,
        "reason": cell.reason.sentence,
        "because": cell.reason.because,
        "policies": list(cell.reason.policies),
        "rule": cell.reason.rule,
        "story": [[when, verdict.value] for when, verdict in cell.story],
        "evidence": list(one.step.evidence),
    }


def _inline(picture: Path) -> str:
    if not picture.exists():
        return ""
    data = base64.b64encode(picture.read_bytes()).decode()
    return f"data:image/svg+xml;base64,{data}"


def _render(template: str, story: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.matrix"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(story)
