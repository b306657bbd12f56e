"""Whether a known cost comes out in order and on a line: the enforcers ``linear-rules=N``.

An instrument that cannot do that measures something else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.load.ab import Connections
from harness.measure.plan import Comparison
from harness.report import findings, style
from harness.report.analysis import Analysis
from harness.stats import Estimate

CAPTION = (
    "CPU seconds that a request takes more with rules that each packet walks in vain, against "
    "their number, with 95 % intervals; at 0 the A/A control; the line is that of least squares."
)
FEWEST = 3
"""Below, any points are on a line."""

LEAST_R2 = 0.9
"""At which known costs count as being on a line."""

_NAME = re.compile(r"linear-rules=(\d+)")


@dataclass(frozen=True, slots=True)
class Line:
    """What known numbers of rules cost, the control at 0, and the line through them."""

    connections: Connections
    size: int
    points: tuple[tuple[int, Estimate], ...]
    slope: float
    """CPU seconds that a rule takes of a request."""

    start: float
    r2: float
    """Share of the costs' variance that the line explains."""

    ordered: bool
    """Whether more rules cost more, without exception."""


def shown(analysis: Analysis) -> bool:
    """Whether there are yardsticks enough."""
    return bool(lines(analysis))


def lines(analysis: Analysis) -> list[Line]:
    """Return the line of each size and kind of connection."""
    conditions = dict.fromkeys((each.connections, each.size) for each in analysis.headlines)
    found = ((each, _points(analysis, *each)) for each in conditions)
    return [_line(*each, points) for each, points in found if len(points) >= FEWEST]


def words(line: Line) -> str:
    """Return what a line shows, and whether that proves the instrument."""
    order = "in order" if line.ordered else "not in order"
    proof = "on a line" if line.r2 >= LEAST_R2 else "not on a line"
    numbers = ", ".join(str(rules) for rules, _ in line.points)
    return (
        f"With {findings.KIND[line.connections]}, {numbers} rules cost {order}, "
        f"{1e9 * line.slope:.0f} ns of CPU a rule and request, and {proof}: R² {line.r2:.3f} "
        f"({LEAST_R2} is asked)"
    )


def draw(analysis: Analysis) -> Figure:
    """Draw a panel for each size and kind of connection."""
    found = lines(analysis)
    figure = Figure(figsize=(max(7.2, 3.6 * len(found)), 4.2), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, line in zip(panels, found, strict=True):
        _panel(axes, line)
    panels[0].set_ylabel("µs of CPU more a request")
    style.title(figure, "\n".join(words(line) for line in found))
    return figure


def _points(
    analysis: Analysis, connections: Connections, size: int
) -> tuple[tuple[int, Estimate], ...]:
    found = {}
    for cost in analysis.costs:
        known = _NAME.fullmatch(cost.enforcer)
        here = (cost.connections, cost.size) == (connections, size) and cost.seconds is not None
        if here and cost.comparison is Comparison.CONTROL:
            found[0] = cost.seconds
        elif here and known and cost.comparison is Comparison.EFFECT:
            found[int(known[1])] = cost.seconds
    several = len(found) > 1
    return tuple((n, each) for n, each in sorted(found.items()) if each is not None and several)


def _line(connections: Connections, size: int, points: Sequence[tuple[int, Estimate]]) -> Line:
    rules = np.array([number for number, _ in points], dtype=np.float64)
    costs = np.array([estimate.mean for _, estimate in points])
    slope, start = np.polyfit(rules, costs, 1)
    residuals = costs - (start + slope * rules)
    spread = costs - costs.mean()
    r2 = 1 - float(residuals @ residuals) / float(spread @ spread)
    ordered = bool(np.all(np.diff(costs) > 0))
    return Line(connections, size, tuple(points), float(slope), float(start), r2, ordered)


def _panel(axes: Axes, line: Line) -> None:
    x = [number for number, _ in line.points]
    means = [1e6 * each.mean for _, each in line.points]
    sides = (
        [1e6 * (each.mean - each.low) for _, each in line.points],
        [1e6 * (each.high - each.mean) for _, each in line.points],
    )
    look = style.enforcer(0)
    axes.errorbar(x, means, yerr=sides, color=look.color, marker="o", linestyle="none", capsize=3)
    ends = np.array([0, x[-1]])
    axes.plot(ends, 1e6 * (line.start + line.slope * ends), color=style.GREY, linewidth=1.2)
    axes.set_xlabel("rules that a packet walks")
    axes.set_title(f"{findings.KIND[line.connections]}, {line.size} pods a service")
