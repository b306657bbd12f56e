"""The study's cases, connection by connection: clients are rows, servers columns, cases panels.

In each cell the columns are ports and the two halves pod IP (above) and ClusterIP (below). Open is
light, denied is dark, so that the picture can be read without colours; what is wrong is crossed
out in a colour that nothing else has; cells of one node are framed.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from harness.matrix.axes import AddressKind, Placement
from harness.matrix.looks import INK, LOOKS, PAPER, Box, Look, look_of, merged
from harness.matrix.record import CaseRecord, CellView, EndRecord, MatrixRecord, StepRecord

Key = TypeVar("Key")
COLUMNS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """What of a run is drawn: one group's cases, where they ran, and who was there."""

    record: MatrixRecord
    cases: tuple[CaseRecord, ...]
    environments: tuple[str, ...]
    ends: tuple[EndRecord, ...]
    ports: tuple[int, ...]

    @classmethod
    def of(cls, record: MatrixRecord, group: str) -> Part:
        """Take a group out of a run."""
        cases = tuple(
            case
            for case in record.cases
            if case.group == group and not case.taken_from and any(s.policies for s in case.steps)
        )
        ids = {case.id for case in cases}
        steps = [step for step in record.steps if step.case in ids and step.number]
        used = {step.cells.layout for step in steps}
        seen = (one for at in sorted(used) for one in record.layouts[at])
        connections = [one for one in seen if one.placement is not Placement.CONTROL]
        numbers = dict.fromkeys(n for one in connections for n in (one.client, one.server))
        return cls(
            record,
            cases,
            tuple(dict.fromkeys(step.environment for step in steps)),
            tuple(record.ends[number] for number in numbers),
            tuple(dict.fromkeys(one.port for one in connections)),
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """Where everybody is in a panel."""

    rows: Mapping[str, int]
    columns: Mapping[str, int]
    ports: Mapping[int, int]

    @classmethod
    def of(cls, part: Part) -> Grid:
        """Lay out the ends of a group: nodes are clients alone."""
        names = [end.name for end in part.ends]
        servers = [name for name in names if not name.startswith("node/")]
        return cls(_numbered(names), _numbered(servers), _numbered(part.ports))

    def box(self, cell: CellView) -> Box:
        """Say where a cell is; one that has a single address takes the whole height."""
        width = 1 / len(self.ports)
        x = self.columns[cell.server] + self.ports[cell.port] * width
        y = float(self.rows[cell.client])
        single = cell.placement in {Placement.FROM_OUTSIDE, Placement.TO_OUTSIDE}
        if single:
            return Box(x, y, width, 1.0)
        return Box(x, y + 0.5 * (cell.kind is AddressKind.CLUSTER_IP), width, 0.5)


def _numbered(items: Iterable[Key]) -> dict[Key, int]:
    return {item: number for number, item in enumerate(items)}


def draw(record: MatrixRecord, folder: Path, group: str = "study") -> None:
    """Draw a group's cases as ``GROUP.svg`` and ``GROUP.png`` in ``folder``, if any was run."""
    part = Part.of(record, group)
    if not part.environments:
        return
    with mpl.rc_context(_SETTINGS):
        figure = _figure(part)
        figure.savefig(folder / f"{group}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{group}.png", metadata={"Software": None})


_SETTINGS: dict[Any, Any] = {
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "hatch.color": PAPER,
    "hatch.linewidth": 0.7,
    "savefig.dpi": 110,
    "svg.fonttype": "path",
    "svg.hashsalt": "npd",
    "text.color": INK,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where panels go, in inches: bands of wirings, each with a heading and rows of panels."""

    across: int
    down: int
    bands: int
    plot: tuple[float, float] = (3.35, 3.75)
    left: float = 0.62
    above: float = 1.02
    below: float = 0.12
    heading: float = 0.78

    @classmethod
    def of(cls, panels: int, bands: int) -> Layout:
        """Lay out a number of panels and a legend, for each of the bands."""
        across = min(COLUMNS, panels + 1)
        return cls(across, -(-(panels + 1) // across), max(1, bands))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        return self.across * self._pitch[0] + 0.15, self.bands * self._band

    @property
    def _pitch(self) -> tuple[float, float]:
        return self.plot[0] + self.left, self.plot[1] + self.above + self.below

    @property
    def _band(self) -> float:
        return self.heading + self.down * self._pitch[1]

    def panel(self, band: int, number: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of a panel, as fractions of the figure."""
        row, column = divmod(number, self.across)
        wide, high = self.size
        left = column * self._pitch[0] + self.left
        top = band * self._band + self.heading + row * self._pitch[1] + self.above
        return (
            left / wide,
            1 - (top + self.plot[1]) / high,
            self.plot[0] / wide,
            self.plot[1] / high,
        )

    def title(self, band: int, drop: float) -> tuple[float, float]:
        """Return a place in a band's heading, ``drop`` inches below its top."""
        wide, high = self.size
        return 0.2 / wide, 1 - (band * self._band + drop) / high


def _figure(part: Part) -> Figure:
    layout = Layout.of(len(part.cases), len(part.environments))
    figure, grid = Figure(layout.size), Grid.of(part)
    for band, name in enumerate(part.environments):
        figure.text(*layout.title(band, 0.16), name, size=18, weight="bold", va="top")
        told = _describe(part.record, name)
        figure.text(*layout.title(band, 0.53), told, size=9.5, va="top", color=_SOFT)
        for number, row in enumerate(part.cases):
            ax = figure.add_axes(layout.panel(band, number))
            steps = part.record.steps_of(row.id, name)
            _panel(ax, part, grid, row, steps[0] if steps else None)
    _legend(figure.add_axes(layout.panel(0, len(part.cases))), part)
    return figure


_SOFT, _WRONG = "#4a5663", "#d3160a"


def _describe(record: MatrixRecord, environment: str) -> str:
    settings = record.environments[environment].settings
    told = [f"enforcer {record.enforcer.get('name', '?')}"]
    if "nodes" in settings:
        told.append(f"{settings['nodes']} nodes")
    if settings.get("cni") == "bridged":
        told.append(f"bridge-nf-call-iptables {int(bool(settings.get('bridge_netfilter')))}")
    return ", ".join(told)


def _panel(ax: Axes, part: Part, grid: Grid, row: CaseRecord, step: StepRecord | None) -> None:
    _frame(ax, part, grid)
    seen = part.record.views(step.cells) if step else ()
    cells = [cell for cell in seen if cell.placement is not Placement.CONTROL]
    _title(ax, row, cells)
    if step is None:
        middle = len(grid.columns) / 2, len(grid.rows) / 2
        ax.text(*middle, "not run", ha="center", va="center", size=16, color="#8a94a0")
        return
    _fill(ax, grid, cells)
    _separate(ax, grid, part.ends)
    _outline_same_node(ax, grid, cells)
    _cross_out(ax, grid, cells)


def _frame(ax: Axes, part: Part, grid: Grid) -> None:
    ax.set_xlim(0, len(grid.columns))
    ax.set_ylim(len(grid.rows), 0)
    ax.set_facecolor("#f4f4f2")
    for side in ("top", "bottom", "left", "right"):
        ax.spines[side].set_visible(False)
    nodes = {end.name: end.node for end in part.ends}
    ax.set_xticks([x + 0.5 for x in grid.columns.values()], [_short(n) for n in grid.columns])
    ax.set_yticks(
        [y + 0.5 for y in grid.rows.values()], [_row_label(n, nodes[n]) for n in grid.rows]
    )
    ax.tick_params(length=0, pad=2, labelsize=7, labelcolor=INK)
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", pad=1)


_SHORT = {"inside-block": "in", "outside-block": "out"}


def _short(name: str) -> str:
    return _SHORT.get(name, name.rpartition("/")[2])


def _row_label(name: str, node: str) -> str:
    number = node.rpartition("-")[2].lstrip("0")
    if name.startswith("node/"):
        return f"node {number}"
    return f"{_short(name)} @{number}" if node else _short(name)


def _title(ax: Axes, row: CaseRecord, cells: Sequence[CellView]) -> None:
    wrong = sum(not cell.right for cell in cells)
    result = f"{wrong} wrong" if wrong else "as expected" if cells else "not run"
    color = _WRONG if wrong else "#1f7a4d" if cells else _SOFT
    _above(ax, 0, 56, row.id, size=11.5, weight="bold", va="bottom")
    _above(ax, 1, 56, result, size=11.5, weight="bold", color=color, ha="right", va="bottom")
    title = textwrap.fill(textwrap.shorten(row.rule, 180, placeholder=" ..."), 62)
    _above(ax, 0, 52, title, size=7.2, color=_SOFT, linespacing=1.2, va="top")


def _above(ax: Axes, x: float, points: float, text: str, **style: Any) -> None:
    """Write above a panel; ``points`` is the distance from its upper edge."""
    ax.annotate(
        text, (x, 1), (0, points), xycoords="axes fraction", textcoords="offset points", **style
    )


def _fill(ax: Axes, grid: Grid, cells: Sequence[CellView]) -> None:
    boxes: defaultdict[Look, list[Box]] = defaultdict(list)
    for cell in cells:
        boxes[look_of(cell)].append(grid.box(cell))
    for look, found in boxes.items():
        ax.add_collection(
            PolyCollection(
                [box.corners() for box in merged(found)],
                facecolor=look.color,
                edgecolor=PAPER if look.hatch else look.color,
                linewidth=0.0,
                hatch=look.hatch or None,
            )
        )


def _separate(ax: Axes, grid: Grid, ends: Sequence[EndRecord]) -> None:
    """Rule cells apart: thin lines between ends, broad ones between namespaces."""
    wide, high = len(grid.columns), len(grid.rows)
    groups = {end.name: end.name.rpartition("/")[0] for end in ends}
    for names, size, other in ((grid.columns, 0, high), (grid.rows, 1, wide)):
        for before, after in pairwise(names):
            at = names[after]
            width = 2.4 if groups[before] != groups[after] else 0.7
            line = [(at, 0), (at, other)] if size == 0 else [(0, at), (other, at)]
            ax.add_collection(LineCollection([line], colors=PAPER, linewidths=width))
    halves = [[(0, y + 0.5), (wide, y + 0.5)] for y in grid.rows.values()]
    ax.add_collection(LineCollection(halves, colors=PAPER, linewidths=0.18))


def _outline_same_node(ax: Axes, grid: Grid, cells: Iterable[CellView]) -> None:
    near = {(cell.client, cell.server) for cell in cells if cell.placement is Placement.SAME_NODE}
    squares = [
        Box(grid.columns[server] + 0.05, grid.rows[client] + 0.06, 0.9, 0.88).corners()
        for client, server in near
    ]
    _frame_all(ax, squares)


def _frame_all(ax: Axes, squares: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Draw dark frames with a light rim, which show on light and on dark."""
    for color, width in ((PAPER, 2.6), (INK, 1.1)):
        ax.add_collection(
            PolyCollection(squares, facecolor="none", edgecolor=color, linewidth=width, zorder=3)
        )


def _cross_out(ax: Axes, grid: Grid, cells: Iterable[CellView]) -> None:
    strokes = [grid.box(cell).place(stroke) for cell in cells for stroke in look_of(cell).strokes]
    ax.add_collection(LineCollection(strokes, colors=INK, linewidths=1.1, zorder=4))


def _legend(ax: Axes, part: Part) -> None:
    ax.set_axis_off()
    ax.set_xlim(0, 11)
    ax.set_ylim(13, 0)
    ax.text(0, 0.0, "How to read it", size=11, weight="bold", va="center")
    ports = ", ".join(str(port) for port in part.ports)
    ax.text(
        0,
        0.7,
        "Rows are clients (@ node), columns are servers.\n"
        f"In a cell: ports {ports} from left to right;\n"
        "pod IP above, ClusterIP below.\n"
        "in: 14.215.0.10, inside the documented block;\nout: 14.216.0.10, outside of it.",
        size=7.5,
        va="top",
        linespacing=1.45,
    )
    for number, look in enumerate(LOOKS):
        _legend_entry(ax, look, 4.2 + number * 1.05)
    _same_node_entry(ax, 4.2 + len(LOOKS) * 1.05)


def _legend_entry(ax: Axes, look: Look, y: float) -> None:
    box = Box(0.0, y, 0.8, 0.7)
    ax.add_collection(
        PolyCollection(
            [box.corners()], facecolor=look.color, edgecolor=PAPER, linewidth=0, hatch=look.hatch
        )
    )
    strokes = [box.place(stroke) for stroke in look.strokes]
    ax.add_collection(LineCollection(strokes, colors=INK, linewidths=1.3))
    ax.text(1.1, y + 0.36, look.label, size=8, va="center")


def _same_node_entry(ax: Axes, y: float) -> None:
    _frame_all(ax, [Box(0.04, y + 0.05, 0.72, 0.6).corners()])
    ax.text(1.1, y + 0.36, "client and server on the same node", size=8, va="center")
