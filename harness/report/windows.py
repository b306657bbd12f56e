"""The report of a run of windows, and its figure: how windows of each change are distributed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.measure.windows import record
from harness.measure.windows.record import Found, Series
from harness.prober.stream import Flow
from harness.report import style
from harness.results import RunFolder, enforcers_of

FILE = "report.md"
_FLOOR = "floor"


def write(folder: RunFolder) -> Path:
    """Draw the figure and write the report from what is stored; return the report's path."""
    (enforcer,) = enforcers_of(folder.read_json("run.json"))
    lines = [f"# For how long is {enforcer} wrong after a change?", ""]
    if (folder.path / record.FILE).exists():
        stored = folder.read_json(record.FILE)
        found = Found.load(stored)
        draw(found.series, folder.folder("figures"))
        lines += _report(found, stored["rate"])
    else:
        reason = folder.read_json("run.json").get("reason", "it has not ended")
        lines.append(f"Nothing is known: {reason}.")
    return folder.write_text(FILE, "\n".join(lines) + "\n")


def _report(found: Found, rate: float) -> Iterator[str]:
    yield (
        f"{rate} probes a second of each kind, from one pod to a pod of another node. A window is"
        " the time from the API server's acknowledgement of a change to the first probe after the"
        " last wrong one, in milliseconds; *resolution* is how much earlier that last wrong probe"
        " was sent. An event counts only where the opposite state was seen just before. The floor"
        " is what the same instrument says of a change that alters nothing: windows near it are"
        " not told from none. *new*: a TCP connection for each probe. *established*: one UDP flow."
    )
    yield ""
    yield from record.table(found.series)
    yield ""
    yield "What may not be wrong at any time:"
    yield ""
    yield from record.never_table(found.never)
    yield ""
    yield "![Shares of events by milliseconds](figures/windows.svg)"


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
    if series:
        axes.legend(fontsize=8, loc="lower right")
