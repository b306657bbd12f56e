"""How a cell of the study's panels looks, and the box that it fills; nothing of matplotlib.

Open is light, denied is dark, so that the picture can be read without colours; each kind of wrong
has a colour and strokes that nothing else has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.clusters.base import Verdict
from harness.matrix.compare import Mark
from harness.matrix.record import CellView

INK, PAPER = "#16202c", "#ffffff"

Stroke = tuple[tuple[float, float], tuple[float, float]]
"""A line in a box of one by one, y downwards. Each kind of wrong has its own, colours or not."""

_DOWN: Stroke = ((0.15, 0.15), (0.85, 0.85))
_UP: Stroke = ((0.15, 0.85), (0.85, 0.15))
_BAR: Stroke = ((0.12, 0.5), (0.88, 0.5))


@dataclass(frozen=True, slots=True)
class Look:
    """How a verdict is filled."""

    label: str
    color: str
    hatch: str = ""
    strokes: tuple[Stroke, ...] = ()


OPEN = Look("open", "#dbe7f3")
DROPPED = Look("dropped", "#24466e")
REJECTED = Look("rejected", "#5e86b3", hatch="/////")
NEITHER = Look("refused, unreachable or error", "#f7e08b", strokes=(_UP,))
LEAKED = Look("LEAKED: denied by policy, open on the wire", "#ff5346", strokes=(_DOWN, _UP))
BLOCKED = Look("BLOCKED: allowed by policy, denied on the wire", "#ffa733", strokes=(_BAR,))
UNPROVED = Look("denied, but without a positive control", "#a9a9a9", strokes=(_DOWN,))
LOOKS = (OPEN, DROPPED, REJECTED, LEAKED, BLOCKED, NEITHER, UNPROVED)

_BY_MARK = {
    Mark.LEAKED: LEAKED,
    Mark.BLOCKED: BLOCKED,
    Mark.UNCLEAR: NEITHER,
    Mark.UNPROVED: UNPROVED,
}
_BY_VERDICT = {Verdict.OPEN: OPEN, Verdict.DROPPED: DROPPED, Verdict.REJECTED: REJECTED}


def look_of(cell: CellView) -> Look:
    """Choose how a cell is drawn."""
    return _BY_MARK.get(cell.mark) or _BY_VERDICT.get(cell.observed, NEITHER)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a panel; one unit is a cell, y grows downwards."""

    x: float
    y: float
    width: float
    height: float

    def corners(self) -> list[tuple[float, float]]:
        """Return the four corners."""
        right, low = self.x + self.width, self.y + self.height
        return [(self.x, self.y), (right, self.y), (right, low), (self.x, low)]

    def place(self, stroke: Stroke) -> list[tuple[float, float]]:
        """Put a stroke into this box."""
        return [(self.x + x * self.width, self.y + y * self.height) for x, y in stroke]


def merged(boxes: Iterable[Box]) -> Iterator[Box]:
    """Join boxes that touch within a row: fewer shapes, and no seams between equal ones."""
    rows: defaultdict[tuple[float, float], list[Box]] = defaultdict(list)
    for box in boxes:
        rows[box.y, box.height].append(box)
    for (y, height), found in rows.items():
        start = end = None
        for box in sorted(found, key=lambda one: one.x):
            if end is not None and start is not None and box.x - end > _TOUCH:
                yield Box(start, y, end - start, height)
                start = None
            start = box.x if start is None else start
            end = box.x + box.width
        if start is not None and end is not None:
            yield Box(start, y, end - start, height)


_TOUCH = 1e-6
