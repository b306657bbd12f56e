"""The figure of changes at size: shares of events by milliseconds, with the instrument's floor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.measure.changes.record import EventRow, Load
from harness.measure.changes.run import STARTED_DENIED, STARTED_FLOOR, STARTED_REACHED
from harness.measure.windows import changes
from harness.measure.windows.instrument import FLOOR
from harness.prober.stream import Flow
from harness.report import style

NAMES = {
    changes.denying().closes: "policy applied, denied",
    changes.denying().opens: "policy removed, open",
    changes.allowing().opens: "allowing policy created, reached",
    changes.allowing().closes: "allowing policy deleted, denied",
    STARTED_REACHED: "pod started, reached",
    STARTED_DENIED: "pod started, others denied",
    FLOOR: "floor: nothing altered",
    STARTED_FLOOR: "floor: pod started, nothing enforced",
}
"""What the changes are called in reports, in their order."""

LOADS = {Load.QUIET: "quiet", Load.CHURN: "up to 10 pods a second replaced"}

CAPTION = (
    "Shares of events against milliseconds to the first right answer, new connections: from the "
    "API server's answer to a change of policy, or from the pod's address being seen. What lies on "
    "the grey floor is not told from none; the left edge is 0.1 ms and below."
)

_FLOORS = {FLOOR: "-", STARTED_FLOOR: "--"}


def draw(rows: Sequence[EventRow], title: str, folder: Path) -> tuple[Path, Path]:
    """Draw a column for each size, a row for each load."""
    sizes = sorted({row.size for row in rows})
    loads = [load for load in Load if any(row.load is load for row in rows)]
    with style.applied():
        width = max(8.0, 4.2 * len(sizes))
        figure = Figure(figsize=(width, 1.4 + 2.9 * len(loads)), layout="constrained")
        panels = figure.subplots(len(loads), len(sizes), sharex=True, sharey=True, squeeze=False)
        for line, load in zip(panels, loads, strict=True):
            for axes, size in zip(line, sizes, strict=True):
                _panel(axes, [row for row in rows if (row.size, row.load) == (size, load)])
            line[0].set_ylabel(f"{LOADS[load]}\nshare of events")
        for axes in panels[-1]:
            axes.set_xlabel("milliseconds")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
        style.title(figure, title)
        return style.save(figure, folder, "changes")


def _panel(axes: Axes, rows: Sequence[EventRow]) -> None:
    axes.set_xscale("log")
    if not rows:
        axes.set_title("not measured", fontsize=9.5)
        return
    looks = iter(style.DISTRIBUTIONS)
    for change, name in NAMES.items():
        floor = _FLOORS.get(change)
        look = (style.GREY, floor) if floor else next(looks)
        values = [
            row.milliseconds
            for row in rows
            if row.change == change and row.flow is Flow.NEW and not row.void
        ]
        style.distribution(axes, values, name, look, floor=floor is not None)
    pods, daemons = rows[0].pods, rows[0].daemons
    axes.set_title(f"{pods:,} pods, {daemons} daemon{'s' if daemons > 1 else ''}", fontsize=9.5)
