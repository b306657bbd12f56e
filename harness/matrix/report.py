"""``report.html`` (one file, no network) and ``report.md`` of a functional run."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2

from harness.matrix.record import MatrixRecord
from harness.matrix.table import failures, results
from harness.results import RunFolder

_FAILURES_SHOWN = 2000
"""Failures listed in a report; ``matrix.json`` has every probe."""


def write_reports(record: MatrixRecord, folder: RunFolder) -> Path:
    """Write both reports beside the pictures, and return the path of ``report.html``."""
    story = _story(record, folder)
    folder.write_text("report.md", _render("functional.md.j2", story))
    return folder.write_text("report.html", _render("functional.html.j2", story))


def _story(record: MatrixRecord, folder: RunFolder) -> dict[str, Any]:
    wrong = failures(record)
    return {
        "record": record,
        "run": folder.read_json("run.json"),
        "env": folder.read_json("env.json"),
        "rows": results(record),
        "failures": wrong[:_FAILURES_SHOWN],
        "hidden": max(0, len(wrong) - _FAILURES_SHOWN),
        "disagreements": [text for step in record.steps for text in step.disagreements],
        "picture": _inline(folder.path / "matrix.svg"),
        "probes": sum(len(step.cells) for step in record.steps),
        "wait": max((step.wait for step in record.steps), default=0.0),
    }


def _inline(picture: Path) -> str:
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
