"""The figures of a perf run: the study's curves, and the summary of ratios."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from harness.load.ab import Connections
from harness.measure.plan import Arm
from harness.report import costs, findings, growth, style, yardstick
from harness.report.analysis import Analysis, Curve, Headline, Point, Sweep
from harness.report.style import Look
from harness.stats import Estimate

FOLDER = "figures"
FEWEST_LEGS = 3
"""Below, a point of a curve has no interval worth drawing."""

_SPAN = 0.5  # of a condition, which the enforcers and their control share
_NAMES = {Connections.NEW: "curves-new", Connections.KEPT: "curves-kept"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure: its files, and what it shows in words."""

    name: str
    svg: Path
    png: Path
    caption: str


def draw(analysis: Analysis, study: Mapping[str, Any], folder: Path) -> list[Picture]:
    """Draw every figure that the analysis has data for, into ``folder``."""
    with style.applied():
        return [
            Picture(name, *style.save(figure, folder, name), caption)
            for name, figure, caption in _drawn(analysis, study)
        ]


def _drawn(analysis: Analysis, study: Mapping[str, Any]) -> Iterator[tuple[str, Figure, str]]:
    """Yield each figure with its name and caption."""
    for kind in Connections:
        if any(each.curves for each in analysis.sweeps if each.connections is kind):
            yield _NAMES[kind], _curves(analysis, kind, study), _curve_caption(kind)
    if any(each.effect or each.control for each in analysis.headlines):
        yield "ratios", _ratios(analysis, study), _RATIO_CAPTION
    if costs.shown(analysis):
        yield "costs", costs.draw(analysis, study), costs.CAPTION
    if growth.shown(analysis, study):
        yield "growth", growth.draw(analysis, study), growth.caption(study)
    if yardstick.shown(analysis):
        yield "yardstick", yardstick.draw(analysis), yardstick.CAPTION


_RATIO_CAPTION = (
    "Requests per second, on over off, pooled over the concurrency sweep, with 95 % intervals; "
    "in grey the A/A control, off over off, interleaved and of the same length; a cross: invalid."
)


def _curve_caption(connections: Connections) -> str:
    return (
        f"ab with {findings.KIND[connections]}: requests per second against concurrency, one "
        "panel a size; geometric means, bands are 95 % intervals over blocks; a cross stands for "
        "one leg or two, of which there is no interval."
    )


def _curves(analysis: Analysis, kind: Connections, study: Mapping[str, Any]) -> Figure:
    sweeps = [each for each in analysis.sweeps if each.connections is kind and each.curves]
    figure = Figure(figsize=(max(7.2, 3.6 * len(sweeps)), 4.4), layout="constrained")
    axes = figure.subplots(1, len(sweeps), sharey=True, squeeze=False)[0]
    for each, sweep in zip(axes, sweeps, strict=True):
        _panel(each, analysis, sweep, study)
    axes[0].set_ylim(bottom=0)  # after all panels have stretched the axis that they share
    axes[0].set_ylabel("QPS (requests per second)")
    axes[0].legend(loc="lower right")
    style.title(figure, findings.curve_title(analysis.of(kind), study))
    return figure


def _panel(axes: Axes, analysis: Analysis, sweep: Sweep, study: Mapping[str, Any]) -> None:
    for curve in sweep.curves:
        _curve(axes, curve, analysis.enforcers)
    ticks = sorted({point.concurrency for curve in sweep.curves for point in curve.points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("concurrency")
    several = len(analysis.enforcers) > 1
    found = [
        f"{f'{each.enforcer} ' if several else 'on/off '}{findings.ratio(each.effect)}"
        f"{'' if findings.is_valid(each.verdict) else ', invalid'}"
        for each in analysis.of(sweep.connections)
        if each.size == sweep.size and each.effect
    ]
    where = findings.scale(sweep.size, study)
    axes.set_title("\n".join((where, *found)), fontsize=9.5 if not several else 8.5)


def founded_and_few(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Return the points that have a line and a band, and those that are crosses alone."""
    founded = [point for point in points if point.legs >= FEWEST_LEGS]
    return founded, [point for point in points if point not in founded]


def _curve(axes: Axes, curve: Curve, enforcers: Sequence[str]) -> None:
    off = curve.arm is Arm.OFF
    look = style.OFF if off else style.enforcer(enforcers.index(curve.enforcer))
    founded, few = founded_and_few(curve.points)
    x = [point.concurrency for point in founded]
    low, high = ([getattr(point, side) for point in founded] for side in ("low", "high"))
    axes.fill_between(
        x,
        low,
        high,
        facecolor=look.color,
        edgecolor=look.color,
        alpha=0.18,
        linewidth=0.4,
        hatch="////" if off else None,
    )
    label = "enforcement off" if off else f"{curve.enforcer} on"
    axes.plot(x, [point.rps for point in founded], **_line(look), label=label)
    places = ([point.concurrency for point in few], [point.rps for point in few])
    axes.plot(*places, color=look.color, linestyle="none", marker="x", markersize=5)


def _line(look: Look) -> dict[str, Any]:
    return {
        "color": look.color,
        "linestyle": look.line,
        "marker": look.marker,
        "markerfacecolor": look.fill,
    }


def _ratios(analysis: Analysis, study: Mapping[str, Any]) -> Figure:
    conditions = list(dict.fromkeys((each.connections, each.size) for each in analysis.headlines))
    figure = Figure(figsize=(style.width(len(conditions)), 4.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1.0, color=style.INK, linewidth=1)
    several = len(analysis.enforcers) > 1
    for x, condition in enumerate(conditions):
        mine = [e for e in analysis.headlines if (e.connections, e.size) == condition]
        shown = [
            (each.effect, _founded(style.enforcer(number), each))
            for number, each in enumerate(mine)
        ]
        shown.append((mine[0].control, style.CONTROL))
        for number, (estimate, look) in enumerate(shown):
            apart = _SPAN * ((number + 0.5) / len(shown) - 0.5)
            if estimate is not None:
                _interval(axes, x + apart, estimate, look)
            if estimate is not None and not several:
                _figure_beside(axes, x + apart, estimate, look)
    axes.set_xticks(range(len(conditions)), [_label(each, study) for each in conditions])
    axes.set_xlim(-0.5, len(conditions) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("ratio of requests per second")
    looks = {f"{name} on / off": style.enforcer(n) for n, name in enumerate(analysis.enforcers)}
    handles = [
        Line2D([], [], **(_line(look) | {"linestyle": "none"}), label=label)
        for label, look in {**looks, "A/A control (off / off)": style.CONTROL}.items()
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2
    )
    style.title(figure, findings.ratio_title(analysis))
    return figure


def _founded(look: Look, headline: Headline) -> Look:
    """Return the look of an estimate: a cross where it is no finding."""
    return look if findings.is_valid(headline.verdict) else replace(look, marker="x")


def _interval(axes: Axes, x: float, estimate: Estimate, look: Look) -> None:
    low, high = estimate.interval
    spread = [[estimate.ratio - low], [high - estimate.ratio]]
    axes.errorbar(
        x,
        estimate.ratio,
        yerr=spread if math.isfinite(high) else None,
        **(_line(look) | {"linestyle": "none"}),
        capsize=4,
        elinewidth=1.6,
    )


def _figure_beside(axes: Axes, x: float, estimate: Estimate, look: Look) -> None:
    axes.annotate(
        f"{estimate.ratio:.3f}",
        (x, estimate.ratio),
        xytext=(-7, 0) if look is not style.CONTROL else (7, 0),
        ha="right" if look is not style.CONTROL else "left",
        textcoords="offset points",
        fontsize=8,
        color=look.color,
        va="center",
    )


def _label(condition: tuple[Connections, int], study: Mapping[str, Any]) -> str:
    connections, size = condition
    kind = "new" if connections is Connections.NEW else "keep-alive"
    of_a_node = findings.scale(size, study).partition(", ")[2]
    return f"{kind}\n{findings.brief(size, study)}\n{of_a_node}"
