"""``blocks.csv``: one row a leg, written as the run goes. ``results/README.md`` explains it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from harness.load.ab import Connections
from harness.measure.plan import Arm, Comparison, Placement, Role


@dataclass(frozen=True, slots=True)
class Row:
    """One leg as it is stored. ``seconds`` and ``*_seconds`` are seconds, ``*_ms`` milliseconds."""

    block: int
    cell: str
    size: int
    enforcer: str
    """Whose arm the block compares with ``off``; ``none`` in the control and for ``bare``."""

    arm: Arm
    placement: Placement
    keepalive: bool
    concurrency: int
    requests: int
    seconds: float
    cpu_seconds: float
    void: bool
    reason: str
    comparison: Comparison
    role: Role
    position: int
    """1 or 2: which leg of its block ran first."""

    failed: int
    rps: float
    p50_ms: float
    p99_ms: float
    enforcer_cpu_seconds: float
    stolen_seconds: float
    at: float
    """Seconds from the start of the measurement to the start of the leg."""

    raw: str
    """ab's own output, relative to the run's folder."""

    others_load: float = 0.0
    """Share of the CPUs that others used just before a reference leg; 0 before a test leg."""

    softirq_seconds: float = 0.0
    generator_cpu_seconds: float = 0.0
    """Of ab itself."""

    path_cpu_seconds: float = 0.0
    """Of ab, the measured servers and the kernel's softirq threads; 0: not known."""

    others_during: float = 0.0
    """Share of the CPUs that neither the path nor the daemons used; 0 where it is not known."""

    def as_text(self) -> dict[str, str]:
        """Return the columns as the file has them."""
        return {name: _text(value) for name, value in asdict(self).items()}

    @classmethod
    def from_text(cls, row: Mapping[str, str]) -> Row:
        """Read the columns of one row."""
        return cls(
            block=int(row["block"]),
            cell=row["cell"],
            size=int(row["size"]),
            enforcer=row["enforcer"],
            arm=Arm(row["arm"]),
            placement=Placement(row["placement"]),
            keepalive=row["keepalive"] == "yes",
            concurrency=int(row["concurrency"]),
            requests=int(row["requests"]),
            seconds=float(row["seconds"]),
            cpu_seconds=float(row["cpu_seconds"]),
            void=row["void"] == "yes",
            reason=row["reason"],
            comparison=Comparison(row["comparison"]),
            role=Role(row["role"]),
            position=int(row["position"]),
            failed=int(row["failed"]),
            rps=float(row["rps"]),
            p50_ms=float(row["p50_ms"]),
            p99_ms=float(row["p99_ms"]),
            enforcer_cpu_seconds=float(row["enforcer_cpu_seconds"]),
            stolen_seconds=float(row["stolen_seconds"]),
            at=float(row["at"]),
            raw=row["raw"],
            others_load=float(row.get("others_load", 0)),
            softirq_seconds=float(row.get("softirq_seconds", 0)),
            generator_cpu_seconds=float(row.get("generator_cpu_seconds", 0)),
            path_cpu_seconds=float(row.get("path_cpu_seconds", 0)),
            others_during=float(row.get("others_during", 0)),
        )

    @property
    def connections(self) -> Connections:
        """Whether connections were kept."""
        return Connections.KEPT if self.keepalive else Connections.NEW


COLUMNS: tuple[str, ...] = tuple(each.name for each in fields(Row))
FILE = "blocks.csv"

LEGS = 2
"""Of a block, one row each."""


def begin(path: Path) -> None:
    """Write the file's first line."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerow(COLUMNS)


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows; they are in the file when this returns."""
    with path.open("a", newline="") as file:
        csv.DictWriter(file, COLUMNS).writerows(row.as_text() for row in rows)


def read(path: Path) -> list[Row]:
    """Read the rows of all whole blocks, in the order in which they were measured.

    A run that was killed while it wrote leaves half a line or half a block: neither counts.
    """
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = len(reader.fieldnames or ())
        texts = [row for row in reader if len(row) == columns and None not in row.values()]
    legs = Counter(row["block"] for row in texts)
    return [Row.from_text(row) for row in texts if legs[row["block"]] == LEGS]


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.9g}"
        case Arm() | Placement() | Comparison() | Role():
            return str(value.value)
        case _:
            return str(value)
