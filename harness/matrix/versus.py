"""Two enforcers side by side on the same cases."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path

import jinja2

from harness.matrix.record import MatrixRecord, load_record
from harness.matrix.table import failures

_NAME = "versus.html"


def compare_runs(first: Path, second: Path) -> Path:
    """Write ``versus.html`` into the first run's folder; returns its path."""
    records = load_record(first / "matrix.json"), load_record(second / "matrix.json")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.matrix"), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    text = environment.get_template("versus.html.j2").render(
        names=[str(one.enforcer.get("name", "?")) for one in records],
        links=["report.html", str(Path("..") / second.name / "report.html")],
        pictures=[Path(), Path("..") / second.name],
        sums=[_sum(one) for one in records],
        rows=list(_rows(*records)),
    )
    path = first / _NAME
    path.write_text(text)
    return path


def _sum(record: MatrixRecord) -> str:
    wrong, probes = len(failures(record)), sum(len(one.cells.marks) for one in record.steps)
    settled = sorted(one.settled for one in record.steps if one.settled is not None and one.due)
    if not settled:
        return f"{wrong} of {probes} wrong; no change ended as expected"
    middle = statistics.median(settled) * 1000
    return f"{wrong} of {probes} wrong; as expected after {middle:.0f} ms (median)"


Row = tuple[str, str, str, int | None, int | None]


def _rows(one: MatrixRecord, other: MatrixRecord) -> list[Row]:
    """Return case, rule, environment and wrong cells of both, where either has any."""
    counted = [Counter((f.case, f.environment) for f in failures(r)) for r in (one, other)]
    ran = [{(s.case, s.environment) for s in r.steps} for r in (one, other)]
    rules = {case.id: case.rule for case in (*one.cases, *other.cases)}
    rows: list[Row] = []
    for key in sorted(ran[0] | ran[1]):
        numbers = [
            counts[key] if key in seen else None for counts, seen in zip(counted, ran, strict=True)
        ]
        if any(numbers) or None in numbers:
            rows.append((key[0], rules[key[0]], key[1], numbers[0], numbers[1]))
    return rows
