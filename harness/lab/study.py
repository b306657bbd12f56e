"""A run of the lab: every cell once in each of two guests, the second in the opposite order.

What the two disagree about is the lab's own error, and is published beside each figure.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.lab import rules
from harness.lab.cells import Cell
from harness.lab.debian import Kernel
from harness.lab.dumps import Dump
from harness.lab.loads import REQUESTS, Load
from harness.lab.machine import Guest, Job
from harness.results import RunFolder

FILE = "cells.csv"
LOG = "logs"
PASSES = 2
_POLL = 0.5  # seconds between two looks at what the guests have written


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: cells, and the requests or packets of each load."""

    kernel: Kernel
    cells: tuple[Cell, ...]
    counts: Mapping[Load, int]
    jobs: int
    """Guests at a time."""
    dump: Dump | None = None

    @property
    def total(self) -> int:
        """How many rates there are to be measured."""
        return PASSES * len(self.cells) * len(self.counts)


@dataclass(frozen=True, slots=True)
class Row:
    """One rate, as it is stored in ``cells.csv``."""

    guest: int
    cell: str
    pods: int
    points: int
    load: Load
    count: int
    """Of requests or packets, in all."""
    rate: float
    """Of either, per second of the guest's clock: a nanosecond of that is an instruction."""
    error: str = ""


class Stage(Protocol):
    """Is told of each rate."""

    def advance(self, done: int = 1, detail: str = "") -> None:
        """Say that ``done`` more are there."""


def run(plan: Plan, folder: RunFolder, stage: Stage) -> list[Row]:
    """Measure every cell and store the rows; HarnessError where a guest does not finish."""
    waiting = [_guest(plan, folder, number) for number in range(1, PASSES + 1)]
    rows: list[Row] = []
    while waiting:
        now, waiting = waiting[: plan.jobs], waiting[plan.jobs :]
        for row in _together(plan, now):
            rows.append(row)
            stage.advance(detail=f"{row.cell}: {row.error or f'{row.rate:.0f}/s'}")
            write(folder, rows)
    return rows


def _guest(plan: Plan, folder: RunFolder, number: int) -> tuple[int, Guest]:
    place = folder.folder(f"{LOG}/guest{number}")
    share = place / "share"
    share.mkdir()
    ordered = plan.cells if number % 2 else plan.cells[::-1]
    cells = [_as_json(plan, cell, share / "rules") for cell in ordered]
    (share / "cells.json").write_text(json.dumps(cells, indent=1))
    return number, Guest(plan.kernel, place, Job((sys.executable, "-m", "harness.lab.guest")))


def _as_json(plan: Plan, cell: Cell, folder: Path) -> dict[str, Any]:
    return {
        "name": cell.name,
        "points": cell.points,
        "enforces": cell.kind.enforces,
        "proves": cell.kind.known,
        "requests": {load.value: plan.counts[load] for load in REQUESTS},
        "packets": plan.counts[Load.FIRST],
        "rules": rules.as_json(rules.write(cell, folder, plan.dump), folder.name),
    }


def _together(plan: Plan, guests: Sequence[tuple[int, Guest]]) -> Iterator[Row]:
    """Run guests side by side and yield their rows as they come."""
    with ExitStack() as stack:
        running = {number: stack.enter_context(guest) for number, guest in guests}
        told = dict.fromkeys(running, 0)
        alive = True
        while alive:
            alive = any(guest.running() for guest in running.values())
            for number, guest in running.items():
                found = list(_read(plan, number, guest.share / "results.jsonl"))
                yield from found[told[number] :]
                told[number] = len(found)
            time.sleep(_POLL if alive else 0)
        for number, guest in running.items():
            if told[number] < len(plan.cells) * len(plan.counts):
                guest.check()


def _read(plan: Plan, number: int, path: Path) -> Iterator[Row]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    known = {cell.name: cell for cell in plan.cells}
    for line in lines:
        if line.endswith("\n"):
            said = json.loads(line)
            cell, load = known[said["cell"]], Load(said["load"])
            yield Row(
                *(number, cell.name, cell.pods, cell.points, load, plan.counts[load]),
                *(float(said["rate"]), str(said["error"])),
            )


def write(folder: RunFolder, rows: Iterable[Row]) -> None:
    """Store the rows, whole or not at all."""
    names = [field.name for field in fields(Row)]
    lines = [names, *([_cell(value) for value in asdict(row).values()] for row in rows)]
    text = "\n".join(",".join(f'"{item}"' if "," in item else item for item in it) for it in lines)
    folder.write_text(FILE, text + "\n")


def _cell(value: object) -> str:
    text = str(value.value if isinstance(value, Load) else value)
    return text.replace('"', "'").replace("\n", " ")


def read(folder: RunFolder) -> list[Row]:
    """Read the rows of a stored run; HarnessError where they are not this version's."""
    with (folder.path / FILE).open(newline="") as file:
        try:
            return [_row(values) for values in csv.DictReader(file)]
        except (KeyError, ValueError) as error:
            raise HarnessError(f"{folder.path / FILE} cannot be read: {error!r}") from error


def _row(values: Mapping[str, str]) -> Row:
    return Row(
        guest=int(values["guest"]),
        cell=values["cell"],
        pods=int(values["pods"]),
        points=int(values["points"]),
        load=Load(values["load"]),
        count=int(values["count"]),
        rate=float(values["rate"]),
        error=values["error"],
    )
