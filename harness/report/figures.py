"""The figures of a perf run: the study's curves, and the summary of ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from harness.load.ab import Connections
from harness.measure.plan import Arm
from harness.report import costs, findings, growth, style
from harness.report.analysis import Analysis, Curve, Headline
from harness.report.style import Look
from harness.stats import Estimate

FOLDER = "figures"
_APART = 0.1  # of the effect and its control from the middle of their condition
_LOOKS = {Arm.OFF: style.OFF, Arm.ON: style.ON}
_ARM_NAMES = {Arm.OFF: "off", Arm.ON: "on"}
_NAMES = {Connections.NEW: "curves-new", Connections.KEPT: "curves-kept"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure: its files, and what it shows in words."""

    name: str
    svg: Path
    png: Path
    caption: str


def draw(
    analysis: Analysis, enforcer: str, study: Mapping[str, Any], folder: Path
) -> list[Picture]:
    """Draw every figure that the analysis has data for, into ``folder``."""
    pictures = []
    with style.applied():
        for connections in Connections:
            headlines = [each for each in analysis.of(connections) if each.curves]
            if headlines:
                figure = _curves(headlines, enforcer, study)
                files = style.save(figure, folder, _NAMES[connections])
                caption = _curve_caption(connections)
                pictures.append(Picture(_NAMES[connections], *files, caption))
        if any(each.effect or each.control for each in analysis.headlines):
            files = style.save(_ratios(analysis, enforcer, study), folder, "ratios")
            pictures.append(Picture("ratios", *files, _RATIO_CAPTION))
        if costs.shown(analysis):
            files = style.save(costs.draw(analysis, enforcer), folder, "costs")
            pictures.append(Picture("costs", *files, costs.CAPTION))
        if growth.shown(analysis, study):
            files = style.save(growth.draw(analysis, enforcer, study), folder, "growth")
            pictures.append(Picture("growth", *files, growth.CAPTION))
    return pictures


_RATIO_CAPTION = (
    "Requests per second, on over off, pooled over the concurrency sweep, with 95 % intervals; "
    "in grey the A/A control, off over off, interleaved and of the same length."
)


def _curve_caption(connections: Connections) -> str:
    return (
        f"ab with {findings.KIND[connections]}: requests per second against concurrency, one "
        "panel a size; geometric means, bands are 95 % intervals over blocks."
    )


def _curves(headlines: Sequence[Headline], enforcer: str, study: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(max(7.2, 3.6 * len(headlines)), 4.4), layout="constrained")
    axes = figure.subplots(1, len(headlines), sharey=True, squeeze=False)[0]
    for each, headline in zip(axes, headlines, strict=True):
        _panel(each, headline, study)
    axes[0].set_ylim(bottom=0)  # after all panels have stretched the axis that they share
    axes[0].set_ylabel("QPS (requests per second)")
    axes[0].legend(loc="lower right")
    style.title(figure, findings.curve_title(enforcer, headlines))
    return figure


def _panel(axes: Axes, headline: Headline, study: Mapping[str, Any]) -> None:
    for curve in headline.curves:
        _curve(axes, curve)
    ticks = sorted({point.concurrency for curve in headline.curves for point in curve.points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("concurrency")
    found = f"on/off {findings.ratio(headline.effect)}" if headline.effect else ""
    where = f"{headline.size} pods a service, {findings.density(headline.size, study)} a node"
    axes.set_title(f"{where}\n{found}", fontsize=9.5)


def _curve(axes: Axes, curve: Curve) -> None:
    look = _LOOKS[curve.arm]
    x = [point.concurrency for point in curve.points]
    low, high = ([getattr(point, side) for point in curve.points] for side in ("low", "high"))
    hatch = "////" if curve.arm is Arm.OFF else None
    axes.fill_between(
        x,
        low,
        high,
        facecolor=look.color,
        edgecolor=look.color,
        alpha=0.18,
        linewidth=0.4,
        hatch=hatch,
    )
    axes.plot(
        x,
        [point.rps for point in curve.points],
        **_line(look),
        label=f"enforcement {_ARM_NAMES[curve.arm]}",
    )


def _line(look: Look) -> dict[str, Any]:
    return {
        "color": look.color,
        "linestyle": look.line,
        "marker": look.marker,
        "markerfacecolor": look.fill,
    }


def _ratios(analysis: Analysis, enforcer: str, study: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1.0, color=style.INK, linewidth=1)
    labels = []
    for x, headline in enumerate(analysis.headlines):
        look = style.NEW if headline.connections is Connections.NEW else style.KEPT
        _interval(axes, x - _APART, headline.effect, look, "on / off")
        _interval(axes, x + _APART, headline.control, style.CONTROL, "A/A control (off / off)")
        labels.append(_label(headline, study))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("ratio of requests per second")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    style.title(figure, findings.ratio_title(enforcer, analysis))
    return figure


def _interval(axes: Axes, x: float, estimate: Estimate | None, look: Look, name: str) -> None:
    if estimate is None:
        return
    named = name in axes.get_legend_handles_labels()[1]
    low, high = estimate.interval
    spread = [[estimate.ratio - low], [high - estimate.ratio]]
    axes.errorbar(
        x,
        estimate.ratio,
        yerr=spread if math.isfinite(high) else None,
        **(_line(look) | {"linestyle": "none"}),
        capsize=4,
        elinewidth=1.6,
        label="_" if named else name,
    )
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


def _label(headline: Headline, study: Mapping[str, Any]) -> str:
    kind = "new" if headline.connections is Connections.NEW else "keep-alive"
    return f"{kind}\n{headline.size} a service\n{findings.density(headline.size, study)} a node"
