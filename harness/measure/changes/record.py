"""The stored form: ``changes.csv``, a row an event, and ``resources.csv``, one a node and phase."""

from __future__ import annotations

import csv
import enum
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness.measure.changes.resources import Phase, Taken
from harness.measure.windows.arithmetic import Void, Window
from harness.measure.windows.record import Event
from harness.prober.stream import Flow

EVENTS = "changes.csv"
RESOURCES = "resources.csv"
NOTES = "changes.json"
FORMAT = 1
"""Of these files; ``results/README.md`` describes them."""


class Load(enum.Enum):
    """What goes on beside the changes that are measured."""

    QUIET = "quiet"
    CHURN = "churn"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where something was measured: the size of the cluster, and what went on beside it."""

    size: int
    """Pods per interfering service."""

    pods: int
    """Of the whole workload."""

    daemons: int
    """On how many nodes the enforcer ran."""

    load: Load


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as it is stored. Times of the window are in milliseconds from its beginning."""

    size: int
    pods: int
    daemons: int
    load: Load
    change: str
    flow: Flow
    at: float
    """When it was asked for: seconds from the start of the measurement."""

    answered_ms: float
    """From then to the window's beginning: the API server's answer, or the pod's address."""

    last_wrong_ms: float
    first_right_ms: float
    """Not a number where the event does not count."""

    void: str

    @classmethod
    def of(cls, setting: Setting, event: Event, started: float) -> EventRow:
        """Return the row of an event."""
        found, times = event.found, event.times
        last, first = (
            (1000 * found.last_wrong, 1000 * found.first_right)
            if isinstance(found, Window)
            else (math.nan, math.nan)
        )
        return cls(
            **_facts(setting),
            change=event.change,
            flow=event.flow,
            at=times.asked - started,
            answered_ms=1000 * (times.acknowledged - times.asked),
            last_wrong_ms=last,
            first_right_ms=first,
            void=found.value if isinstance(found, Void) else "",
        )

    @property
    def milliseconds(self) -> float:
        """How long it took: to the first right answer, so never too short."""
        return max(0.0, self.first_right_ms)


@dataclass(frozen=True, slots=True)
class ResourceRow:
    """What a node's daemon took in a phase, as it is stored."""

    size: int
    pods: int
    daemons: int
    phase: Phase
    node: str
    seconds: float
    cpu_seconds: float
    rss_bytes: int
    rules: int | None
    sets: int | None
    elements: int | None
    """What it keeps in the kernel of its node; counted in the idle phase alone."""

    @classmethod
    def of(cls, setting: Setting, taken: Taken) -> ResourceRow:
        """Return the row."""
        held = taken.kernel
        return cls(
            *(setting.size, setting.pods, setting.daemons, taken.phase, taken.node),
            *(taken.seconds, taken.cpu_seconds, taken.rss_bytes),
            *((held.rules, held.sets, held.elements) if held else (None, None, None)),
        )


def _facts(setting: Setting) -> dict[str, Any]:
    return {each.name: getattr(setting, each.name) for each in fields(setting)}


def append(path: Path, rows: Iterable[EventRow] | Iterable[ResourceRow]) -> None:
    """Write rows behind those that are there; the header before the first."""
    _write(path, [{name: _cell(value) for name, value in asdict(row).items()} for row in rows])


def keep(path: Path, sizes: Collection[int]) -> None:
    """Take the rows of other sizes out of a file, and the file where none is left."""
    kept = [row for row in _rows(path) if int(row["size"]) in sizes]
    path.unlink(missing_ok=True)
    _write(path, kept)


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows behind those that are there; a file has a row, and so a header, or is not made."""
    if not rows:
        return
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def _cell(value: Any) -> Any:
    match value:
        case enum.Enum():
            return value.value
        case None:
            return ""
        case float():
            return "" if math.isnan(value) else f"{value:.3f}"
        case _:
            return value


def events(path: Path) -> list[EventRow]:
    """Read ``changes.csv``; nothing where it is not there."""
    return [
        EventRow(
            size=int(row["size"]),
            pods=int(row["pods"]),
            daemons=int(row["daemons"]),
            load=Load(row["load"]),
            change=row["change"],
            flow=Flow(row["flow"]),
            at=float(row["at"]),
            answered_ms=float(row["answered_ms"] or "nan"),
            last_wrong_ms=float(row["last_wrong_ms"] or "nan"),
            first_right_ms=float(row["first_right_ms"] or "nan"),
            void=row["void"],
        )
        for row in _rows(path)
    ]


def resources(path: Path) -> list[ResourceRow]:
    """Read ``resources.csv``; nothing where it is not there."""
    return [
        ResourceRow(
            size=int(row["size"]),
            pods=int(row["pods"]),
            daemons=int(row["daemons"]),
            phase=Phase(row["phase"]),
            node=row["node"],
            seconds=float(row["seconds"]),
            cpu_seconds=float(row["cpu_seconds"]),
            rss_bytes=int(row["rss_bytes"]),
            rules=_count(row["rules"]),
            sets=_count(row["sets"]),
            elements=_count(row["elements"]),
        )
        for row in _rows(path)
    ]


def _count(text: str) -> int | None:
    return int(text) if text else None


def _rows(path: Path) -> Sequence[dict[str, str]]:
    """Return the whole rows: a run that was killed while it wrote leaves half a line."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = lines[:-1] if lines and not lines[-1].endswith("\n") else lines
    return list(csv.DictReader(whole))
