"""The figure of a run of windows: how the windows of each kind of change are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.measure.windows.record import Series
from harness.prober.stream import Flow
from harness.report import style

_LEAST_MS = 0.1
"""Milliseconds; where the axis, which is logarithmic, begins."""
_COLORS = (
    *("#123f6b", "#c0641a", "#2b7a4b", "#7b3f8c", "#8a6d00", "#b03060"),
    *("#3a7ca5", "#5c4033"),
)
_LINES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1)), (0, (5, 1)), (0, (1, 3)), (0, (8, 3)))
_FLOOR = "floor"


def draw(series: Sequence[Series], folder: Path) -> tuple[Path, Path]:
    """Draw the share of events against milliseconds, new and established connections apart."""
    with style.applied():
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        panels: Sequence[Axes] = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, flow in zip(panels, Flow, strict=True):
            _panel(axes, flow, [one for one in series if one.flow is flow and one.windows])
        panels[0].set_ylabel("share of events")
        return style.save(figure, folder, "windows")


def _panel(axes: Axes, flow: Flow, series: Sequence[Series]) -> None:
    styles = zip(_COLORS, _LINES, strict=True)
    for one in series:
        values = [max(_LEAST_MS, value) for value in sorted(one.milliseconds())]
        shares = [at / len(values) for at in range(1, len(values) + 1)]
        floor = _FLOOR in one.change
        color, line = (style.GREY, "-") if floor else next(styles)
        label = f"{one.change} ({len(values)})"
        axes.step(
            [_LEAST_MS, *values],
            [0.0, *shares],
            where="post",
            color=color,
            linestyle=line,
            label=label,
            linewidth=4 if floor else 1.8,
            alpha=0.5 if floor else 1.0,
        )
    axes.set_xscale("log")
    axes.set_title(f"{flow.value} connections")
    axes.set_xlabel("milliseconds from the acknowledgement to the first right answer")
    axes.legend(fontsize=8, loc="lower right")
