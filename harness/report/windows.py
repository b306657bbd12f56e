"""The figure of a run of windows: how the windows of each kind of change are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.measure.windows.record import Series
from harness.prober.stream import Flow
from harness.report import style

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
    looks = iter(style.DISTRIBUTIONS)
    for one in series:
        values = list(one.milliseconds())
        floor = _FLOOR in one.change
        look = (style.GREY, "-") if floor else next(looks)
        style.distribution(axes, values, f"{one.change} ({len(values)})", look, floor=floor)
    axes.set_xscale("log")
    axes.set_title(f"{flow.value} connections")
    axes.set_xlabel("milliseconds from the acknowledgement to the first right answer")
    axes.legend(fontsize=8, loc="lower right")
