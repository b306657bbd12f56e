"""The picture of a whole run, however large: a grid for each environment, a square for each case.

A grid's rows are placements (same node first and apart), its columns kinds of address. A tile is
filled as its verdicts were: light for open, dark for denied. What is wrong takes the whole tile, in
a colour and with strokes that nothing else has, and says how many.
"""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.clusters.base import Verdict
from harness.matrix.axes import AddressKind, Placement
from harness.matrix.compare import Mark
from harness.matrix.picture import draw
from harness.matrix.record import MatrixRecord
from harness.matrix.table import Answer, answer, failures, not_reached
from harness.matrix.tally import Tally


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours; every kind of wrong has strokes of its own besides."""

    name: str
    paper: str
    ink: str
    soft: str
    faint: str
    open: str
    denied: str
    leaked: str
    blocked: str
    unclear: str
    unproved: str
    good: str
    bad: str


LIGHT = Theme(
    "", "#ffffff", "#16202c", "#4a5663", "#c9d0d8", "#cfe0f1", "#24466e",
    "#ff5346", "#ffa733", "#f7e08b", "#b4b4b4", "#1f7a4d", "#d3160a",
)  # fmt: skip
DARK = Theme(
    "-dark", "#0d1117", "#e6edf3", "#9aa7b4", "#3a4450", "#b9d3ec", "#3f6ea6",
    "#ff5f52", "#ffb454", "#f2d974", "#7d7d7d", "#57c98c", "#ff7b72",
)  # fmt: skip
_TEXT = "#16202c"
"""On every tile that is written on, in both themes."""

ROWS: Sequence[tuple[str, Placement]] = (
    ("same node", Placement.SAME_NODE),
    ("other node", Placement.OTHER_NODE),
    ("itself", Placement.SELF),
    ("node → own pod", Placement.HOST_TO_OWN_POD),
    ("node → other's pod", Placement.HOST_TO_REMOTE_POD),
    ("pod → own node", Placement.POD_TO_OWN_HOST),
    ("pod → other node", Placement.POD_TO_REMOTE_HOST),
    ("outside → pod", Placement.FROM_OUTSIDE),
    ("pod → outside", Placement.TO_OUTSIDE),
)
COLUMNS: Sequence[tuple[str, frozenset[AddressKind]]] = (
    ("its own\nIP", frozenset({AddressKind.POD_IP, AddressKind.NODE_IP, AddressKind.EXTERNAL})),
    ("Cluster-\nIP", frozenset({AddressKind.CLUSTER_IP, AddressKind.HAIRPIN})),
    ("Node-\nPort", frozenset({AddressKind.NODE_PORT})),
    ("…else-\nwhere", frozenset({AddressKind.NODE_PORT_ELSEWHERE})),
)
_GAPS = {0: 0.0, 1: 0.28, 2: 0.56}
"""Space above a row, in rows: what is above it is another thing."""
_STROKES: Mapping[Mark, tuple[tuple[tuple[float, float], tuple[float, float]], ...]] = {
    Mark.LEAKED: (((0.06, 0.12), (0.3, 0.88)), ((0.06, 0.88), (0.3, 0.12))),
    Mark.BLOCKED: (((0.06, 0.5), (0.3, 0.5)),),
    Mark.UNCLEAR: (((0.06, 0.88), (0.3, 0.12)),),
    Mark.UNPROVED: (((0.06, 0.12), (0.3, 0.88)),),
}
_LOUDEST = (Mark.LEAKED, Mark.BLOCKED, Mark.UNCLEAR, Mark.MANNER, Mark.UNPROVED)
_ACROSS = 4
_TITLE = 26  # letters of a grid's name beside its tick
_CASES_A_LINE = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """What was seen in one environment at one placement by one kind of address."""

    marks: Counter[Mark]
    denied: int
    total: int

    @property
    def loudest(self) -> Mark | None:
        """The worst thing that it has to show, if there is any."""
        return next((mark for mark in _LOUDEST if self.marks[mark]), None)


@dataclass(frozen=True, slots=True)
class Case:
    """What became of a case, wherever it was asked: whether it ran, and the worst that was seen."""

    ran: bool
    mark: Mark | None = None


Key = tuple[str, Placement, int]


def tiles_of(record: MatrixRecord) -> dict[Key, Tile]:
    """Count every cell into its tile."""
    columns = {kind: at for at, (_, kinds) in enumerate(COLUMNS) for kind in kinds}
    marks: defaultdict[Key, Counter[Mark]] = defaultdict(Counter)
    denied: Counter[Key] = Counter()
    tally = Tally(record)
    for step in record.steps:
        for cell, count in tally.of(step).items():
            key = (step.environment, cell.placement, columns[cell.address])
            marks[key][cell.mark] += count
            denied[key] += count if cell.observed in {Verdict.DROPPED, Verdict.REJECTED} else 0
    return {key: Tile(seen, denied[key], sum(seen.values())) for key, seen in marks.items()}


def draw_all(record: MatrixRecord, folder: Path) -> None:
    """Draw ``matrix`` light and dark, as SVG and PNG, and the study's panels where it was run."""
    for theme in (LIGHT, DARK):
        with mpl.rc_context(_settings(theme)):
            figure = Picture(record, theme).figure()
            for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                figure.savefig(folder / f"matrix{theme.name}.{kind}", metadata=metadata)
    draw(record, folder)


def _settings(theme: Theme) -> dict[Any, Any]:
    return {
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "savefig.dpi": 110,
        "svg.fonttype": "path",
        "svg.hashsalt": "npd",
        "text.color": theme.ink,
    }


class Picture:
    """One drawing of a run. Lengths are inches, y grows downwards."""

    def __init__(self, record: MatrixRecord, theme: Theme) -> None:
        self._record, self._theme = record, theme
        self._tiles = tiles_of(record)
        ran = (step.environment for step in record.steps)
        self._missing = record.missing()
        self._names = list(dict.fromkeys((*ran, *record.planned)))
        self._across = min(_ACROSS, max(3, len(self._names)))
        self._wide = 1.35 + self._across * 2.35
        self._grids = -(-len(self._names) // self._across)

    def figure(self) -> Figure:
        """Draw it."""
        lines = list(self._case_lines())
        height = 1.15 + self._grids * 3.12 + 0.25 + len(lines) * 0.165 + 0.55
        figure = Figure((self._wide, height))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_axis_off()
        ax.set_xlim(0, self._wide)
        ax.set_ylim(height, 0)
        self._heading(ax)
        for number, name in enumerate(self._names):
            down, right = divmod(number, self._across)
            self._grid(ax, name, (1.3 + right * 2.35, 1.15 + down * 3.12), labels=right == 0)
        y = 1.15 + self._grids * 3.12 + 0.1
        self._cases(ax, lines, y)
        self._legend(ax, height - 0.3)
        return figure

    def _heading(self, ax: Axes) -> None:
        record, theme = self._record, self._theme
        name = record.enforcer.get("name", "?")
        ax.text(0.2, 0.34, f"Is {name} correct?", size=17, weight="bold", va="center")
        told, color = self._told()
        ax.text(self._wide - 0.2, 0.34, told, size=13, weight="bold", ha="right", va="center",
                color=color)  # fmt: skip
        if left := not_reached(record):
            ax.text(0.2, 0.66, f"partial: {left}", size=8, weight="bold", va="center",
                    color=theme.bad)  # fmt: skip
            return
        cases = len({step.case for step in record.steps})
        under = (
            f"{_count(cases, 'case')}, {_count(len(self._names), 'kind')} of cluster; a tile is"
            " everything seen at a placement (row) by a kind of address (column): light open,"
            " dark denied"
        )
        ax.text(0.2, 0.66, under, size=8, color=theme.soft, va="center")

    def _told(self) -> tuple[str, str]:
        """Return the answer, and its colour."""
        probes = sum(tile.total for tile in self._tiles.values())
        match answer(self._record):
            case Answer.NO:
                marks = Counter(one.cell.mark for one in failures(self._record))
                return f"No: {_amiss(marks)} of {probes:,} verdicts", self._theme.bad
            case Answer.PARTIAL:
                return f"Partial: {probes:,} verdicts, none wrong", self._theme.soft
            case Answer.YES:
                return f"Yes: all of {probes:,} verdicts right", self._theme.good

    def _grid(self, ax: Axes, name: str, corner: tuple[float, float], *, labels: bool) -> None:
        x, y = corner
        theme = self._theme
        here = (tile for (where, _, _), tile in self._tiles.items() if where == name)
        wrong = _amiss(sum((tile.marks for tile in here), Counter()))
        words = name.replace("+", " · ").replace("_", "-")
        title = textwrap.fill(words, _TITLE, break_on_hyphens=False)
        ax.text(x, y - 0.08, title, size=8.6, weight="bold", va="bottom", linespacing=1.1)
        left = sum(where == name for _, where in self._missing)
        told, color = ("✓", theme.good) if not left else (f"{left} not run", theme.soft)
        told, color = (wrong, theme.bad) if wrong else (told, color)
        # Beside the title's first line, which is the short one
        above = y - 0.08 - title.count("\n") * 0.135
        ax.text(x + 2.2, above, told, size=8.6, weight="bold", ha="right", color=color,
                va="bottom")  # fmt: skip
        for column, (words, _) in enumerate(COLUMNS):
            ax.text(x + 0.26 + column * 0.55, y + 0.15, words, size=5.8, ha="center", va="center",
                    color=theme.soft, linespacing=1.0)  # fmt: skip
        for at, (words, placement) in enumerate(ROWS):
            top = y + 0.33 + (at + _GAPS.get(at, 0.56)) * 0.245
            bold = "bold" if at == 0 else "normal"
            if labels:
                ax.text(x - 0.08, top + 0.11, words, size=7.4, ha="right", va="center", weight=bold)
            for column in range(len(COLUMNS)):
                tile = self._tiles.get((name, placement, column))
                self._tile(ax, tile, (x + column * 0.55, top), possible(placement, column))

    def _tile(
        self,
        ax: Axes,
        tile: Tile | None,
        corner: tuple[float, float],
        is_possible: bool,  # noqa: FBT001  # of a pure function of both
    ) -> None:
        x, y = corner
        wide, high, theme = 0.52, 0.225, self._theme
        if tile is None:
            if is_possible:
                self._hollow(ax, corner, (wide, high))
            return
        mark = tile.loudest
        if mark is None:
            share = tile.denied / tile.total
            dark = wide * (max(share, 0.06) if tile.denied else 0.0)
            ax.add_patch(Rectangle((x, y), wide, high, facecolor=theme.open, linewidth=0))
            ax.add_patch(Rectangle((x, y), dark, high, facecolor=theme.denied, linewidth=0))
            return
        ax.add_patch(Rectangle((x, y), wide, high, facecolor=self._color(mark), linewidth=0))
        strokes = [
            [(x + a * wide, y + b * high) for a, b in stroke] for stroke in _STROKES.get(mark, ())
        ]
        ax.add_collection(LineCollection(strokes, colors=_TEXT, linewidths=1.3))
        count = sum(tile.marks[one] for one in _LOUDEST)
        ax.text(x + 0.62 * wide, y + 0.52 * high, _short(count), size=6.6, weight="bold",
                ha="center", va="center", color=_TEXT)  # fmt: skip

    def _hollow(self, ax: Axes, corner: tuple[float, float], size: tuple[float, float]) -> None:
        """Draw what was not run."""
        ax.add_patch(
            Rectangle(corner, *size, fill=False, edgecolor=self._theme.faint,
                      linestyle=(0, (2, 2)), linewidth=0.8)
        )  # fmt: skip

    def _color(self, mark: Mark) -> str:
        theme = self._theme
        return {
            Mark.LEAKED: theme.leaked,
            Mark.BLOCKED: theme.blocked,
            Mark.UNPROVED: theme.unproved,
        }.get(mark, theme.unclear)

    def _case_lines(self) -> Iterator[tuple[str, list[Case]]]:
        """Yield a group's name (once) and what became of each of its cases, line by line."""
        worst: dict[str, Mark | None] = {}
        planned = {case for cases in self._record.planned.values() for case in cases}
        tally = Tally(self._record)
        for step in self._record.steps:
            seen = {cell.mark for cell in tally.of(step)}
            bad = next((mark for mark in _LOUDEST if mark in seen), None)
            known = worst.setdefault(step.case, None)
            worst[step.case] = _worse(known, bad)
        for group in self._record.groups:
            known_ids = planned | worst.keys()
            ids = [c.id for c in self._record.cases if c.group == group.name and c.id in known_ids]
            for start in range(0, len(ids), _CASES_A_LINE):
                line = ids[start : start + _CASES_A_LINE]
                cases = [Case(one in worst, worst.get(one)) for one in line]
                yield (group.name if start == 0 else "", cases)

    def _cases(self, ax: Axes, lines: list[tuple[str, list[Case]]], y: float) -> None:
        step = (self._wide - 1.5) / _CASES_A_LINE
        for number, (name, cases) in enumerate(lines):
            top = y + number * 0.165
            ax.text(1.22, top + 0.06, name, size=7.4, ha="right", va="center")
            for at, case in enumerate(cases):
                x, mark = 1.3 + at * step, case.mark
                if not case.ran:
                    self._hollow(ax, (x, top), (step * 0.8, 0.125))
                    continue
                color = self._theme.denied if mark is None else self._color(mark)
                ax.add_patch(Rectangle((x, top), step * 0.8, 0.125, facecolor=color, linewidth=0))
                if mark is not None:
                    cross = [[(x, top), (x + step * 0.8, top + 0.125)],
                             [(x, top + 0.125), (x + step * 0.8, top)]]  # fmt: skip
                    ax.add_collection(LineCollection(cross, colors=_TEXT, linewidths=0.9))

    def _legend(self, ax: Axes, y: float) -> None:
        entries: Sequence[tuple[str, str, Mark | None]] = (
            ("open, as expected", self._theme.open, None),
            ("denied, as expected", self._theme.denied, None),
            ("LEAKED", self._theme.leaked, Mark.LEAKED),
            ("BLOCKED", self._theme.blocked, Mark.BLOCKED),
            ("unclear, other manner", self._theme.unclear, Mark.UNCLEAR),
            ("unproved", self._theme.unproved, Mark.UNPROVED),
        )
        x = 0.2
        for words, color, mark in entries:
            ax.add_patch(Rectangle((x, y), 0.3, 0.15, facecolor=color, linewidth=0))
            strokes = [
                [(x + a * 0.9, y + b * 0.15) for a, b in one]
                for one in (_STROKES[mark] if mark else ())
            ]
            ax.add_collection(LineCollection(strokes, colors=_TEXT, linewidths=1.1))
            ax.text(x + 0.36, y + 0.08, words, size=7, va="center")
            x += 0.5 + len(words) * (0.068 if words.isupper() else 0.053)
        self._hollow(ax, (x, y), (0.3, 0.15))
        ax.text(x + 0.36, y + 0.08, "not run", size=7, va="center")


def possible(placement: Placement, column: int) -> bool:
    """Whether a placement can be asked by a kind of address at all."""
    alone = {Placement.POD_TO_OWN_HOST, Placement.POD_TO_REMOTE_HOST, Placement.TO_OUTSIDE}
    if placement in alone:
        return column == 0
    return not (placement is Placement.FROM_OUTSIDE and column == 1)


def _worse(one: Mark | None, other: Mark | None) -> Mark | None:
    both = [mark for mark in (one, other) if mark is not None]
    return min(both, key=_LOUDEST.index) if both else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _amiss(marks: Counter[Mark]) -> str:
    """Say how much is wrong and how much unproved, which is neither wrong nor right."""
    unproved = marks[Mark.UNPROVED]
    wrong = sum(marks[mark] for mark in _LOUDEST) - unproved
    told = [(wrong, "wrong"), (unproved, "unproved")]
    return ", ".join(f"{count:,} {word}" for count, word in told if count)


def _short(count: int) -> str:
    return f"{count / 1000:.1f}k" if count >= 10_000 else str(count)  # noqa: PLR2004
