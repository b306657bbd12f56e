"""The one style of all figures: readable in black and white, the same bytes each time.

Arms differ by line style and marker, not by colour alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1a1a1a"
GREY = "#8c8c8c"
FAINT = "#d9d9d9"

LEAST_MS = 0.1
"""Milliseconds; where a logarithmic axis of them begins."""

DISTRIBUTIONS: Sequence[tuple[str, Any]] = tuple(
    zip(
        (
            *("#123f6b", "#c0641a", "#2b7a4b", "#7b3f8c", "#8a6d00", "#b03060"),
            *("#3a7ca5", "#5c4033"),
        ),
        ("-", "--", "-.", ":", (0, (3, 1, 1, 1)), (0, (5, 1)), (0, (1, 3)), (0, (8, 3))),
        strict=True,
    )
)
"""Colour and line of each distribution of a panel, floors aside."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one series is drawn."""

    color: str
    line: Any
    """A line style of matplotlib's."""

    marker: str
    fill: str
    """Of the marker."""


OFF = Look(color="#c0641a", line="--", marker="s", fill="white")
CONTROL = Look(color=GREY, line=":", marker="D", fill="white")
BARE = Look(color="#c0641a", line=":", marker="s", fill="white")

ENFORCERS = (
    Look(color="#123f6b", line="-", marker="o", fill="#123f6b"),
    Look(color="#a3195b", line="-.", marker="v", fill="white"),
    Look(color="#2b7a4b", line="--", marker="^", fill="#2b7a4b"),
    Look(color="#7a3b8f", line=(0, (5, 1, 1, 1, 1, 1)), marker="P", fill="white"),
    Look(color="#8a6d00", line=(0, (1, 1)), marker="X", fill="#8a6d00"),
)
"""Of the enforcers of a run, in their order; a sixth looks like the first."""


def enforcer(number: int) -> Look:
    """Return the look of the enforcer with this number in its run, from 0."""
    return ENFORCERS[number % len(ENFORCERS)]


_CHARACTERS_PER_INCH = 11  # of a title, at 12 points

_SETTINGS: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "savefig.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "npd",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style."""
    with mpl.rc_context(_SETTINGS):
        yield


def distribution(
    axes: Axes, milliseconds: Iterable[float], label: str, look: tuple[str, Any], *, floor: bool
) -> None:
    """Draw the share of events by milliseconds, as steps; an instrument's floor lies behind."""
    values = [max(LEAST_MS, value) for value in sorted(milliseconds)]
    shares = [at / len(values) for at in range(1, len(values) + 1)]
    color, line = look
    axes.step(
        [LEAST_MS, *values],
        [0.0, *shares],
        where="post",
        color=color,
        linestyle=line,
        label=label,
        linewidth=4 if floor else 1.8,
        alpha=0.5 if floor else 1.0,
    )


def width(conditions: int) -> float:
    """Return how wide a figure has to be (inches) for so many conditions beside each other."""
    return max(8.4, 1.25 * conditions)


def title(figure: Figure, text: str) -> None:
    """Write the finding above a figure, folded to its width."""
    width = int(_CHARACTERS_PER_INCH * figure.get_figwidth())
    lines = (textwrap.fill(line, width) for line in text.splitlines())
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=12)


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as SVG and PNG; equal figures give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    figure.savefig(svg, metadata={"Date": None})
    figure.savefig(png, metadata={"Software": None})
    return svg, png
