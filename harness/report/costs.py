"""The costs apart: each arm beside ``off``, in requests per second and in CPU time per request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.load.ab import Connections
from harness.measure.plan import NOBODY, Comparison
from harness.report import findings, style
from harness.report.analysis import Analysis, Cost
from harness.report.style import Look
from harness.stats import Estimate

CAPTION = (
    "Each arm over off, pooled over the concurrency sweep, with 95 % intervals; in grey the A/A "
    "control. Above: requests per second. Below: CPU seconds per request of the machine, the "
    "enforcer's daemons left out. A cross: invalid."
)

MARKERS: Mapping[Comparison, str] = {Comparison.RULES: "<", Comparison.IDLE: ">"}
"""Of the arms beside ``on``, whose marker is the enforcer's own."""

Drawn = tuple[float, Estimate, bool]
"""Where an estimate is drawn, the estimate, and whether it is a finding."""

_SPAN = 0.64  # of a condition, which the arms share


def shown(analysis: Analysis) -> bool:
    """Whether there is more to tell apart than on and off."""
    known = {cost.comparison for cost in analysis.costs if cost.rate is not None}
    return bool(known - {Comparison.EFFECT, Comparison.CONTROL})


def draw(analysis: Analysis, study: Mapping[str, Any]) -> Figure:
    """Draw both quantities, one above the other, condition by condition."""
    conditions = list(dict.fromkeys((cost.connections, cost.size) for cost in analysis.costs))
    figure = Figure(figsize=(style.width(len(conditions)), 6.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _panel(above, analysis, lambda cost: cost.rate)
    _panel(below, analysis, lambda cost: cost.cpu)
    labels = [f"{_kind(kind)}\n{findings.brief(size, study)}" for kind, size in conditions]
    below.set_xticks(range(len(labels)), labels)
    above.set_ylabel("ratio of requests per second")
    below.set_ylabel("ratio of CPU s per request")
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    style.title(figure, title(analysis))
    return figure


def title(analysis: Analysis) -> str:
    """Return the finding: how far each arm is from off, with new connections."""
    said: dict[str, list[str]] = {}
    for enforcer, comparison in trials(analysis.costs):
        found = [
            cost.rate.ratio
            for cost in analysis.costs
            if (cost.enforcer, cost.comparison) == (enforcer, comparison)
            and cost.connections is Connections.NEW
            and cost.rate is not None
            and comparison is not Comparison.CONTROL
        ]
        if found:
            arm = comparison.test_arm.value
            said.setdefault(enforcer, []).append(f"{arm} {findings.span(found)}")
    lines = (
        ", ".join(arms if enforcer == NOBODY else [f"{enforcer}: {arms[0]}", *arms[1:]])
        for enforcer, arms in said.items()
    )
    return "\n".join(("Requests per second over those in off, a new connection each", *lines))


def trials(costs: Sequence[Cost]) -> list[tuple[str, Comparison]]:
    """Return whose arms were measured, enforcer by enforcer, the control last."""
    known = dict.fromkeys((cost.enforcer, cost.comparison) for cost in costs)
    return sorted(known, key=lambda each: not each[1].has_enforcer)


def name(enforcer: str, comparison: Comparison) -> str:
    """Return what a legend calls a trial."""
    if comparison is Comparison.CONTROL:
        return "A/A (off/off)"
    return f"{enforcer} {comparison.value}" if comparison.has_enforcer else comparison.value


def look(analysis: Analysis, enforcer: str, comparison: Comparison) -> Look:
    """Return how a trial is drawn: enforcers differ by color and fill, arms by marker."""
    if not comparison.has_enforcer:
        return style.CONTROL if comparison is Comparison.CONTROL else style.BARE
    of = style.enforcer(analysis.enforcers.index(enforcer))
    return replace(of, marker=MARKERS.get(comparison, of.marker))


def _panel(axes: Axes, analysis: Analysis, quantity: Callable[[Cost], Estimate | None]) -> None:
    conditions = list(dict.fromkeys((cost.connections, cost.size) for cost in analysis.costs))
    tried = trials(analysis.costs)
    axes.axhline(1.0, color=style.INK, linewidth=1)
    for number, trial in enumerate(tried):
        apart = _SPAN * ((number + 0.5) / len(tried) - 0.5)
        points = [
            (conditions.index((cost.connections, cost.size)) + apart, found, _valid(cost))
            for cost in analysis.costs
            if (cost.enforcer, cost.comparison) == trial and (found := quantity(cost)) is not None
        ]
        drawn = look(analysis, *trial)
        series(axes, points, drawn, name(*trial), linestyle="none", elinewidth=1.4)
    axes.set_xlim(-0.5, len(conditions) - 0.5)
    axes.grid(visible=False, axis="x")


def _valid(cost: Cost) -> bool:
    return findings.is_valid(cost.verdict)


def series(axes: Axes, points: Sequence[Drawn], look: Look, label: str, **line: Any) -> None:
    """Draw estimates with their intervals, in the look of their comparison; invalid ones apart."""
    _errorbars(axes, [each for each in points if each[2]], look, label=label, **line)
    cross = replace(look, marker="x")
    invalid = [each for each in points if not each[2]]
    _errorbars(axes, invalid, cross, **(line | {"linestyle": "none"}))


def _errorbars(axes: Axes, points: Sequence[Drawn], look: Look, **line: Any) -> None:
    spread = [
        [each.ratio - each.interval[0] for _, each, _ in points],
        [each.interval[1] - each.ratio for _, each, _ in points],
    ]
    finite = all(math.isfinite(value) for side in spread for value in side)
    axes.errorbar(
        [x for x, _, _ in points],
        [each.ratio for _, each, _ in points],
        yerr=spread if finite else None,
        color=look.color,
        marker=look.marker,
        markerfacecolor=look.fill,
        capsize=3,
        **line,
    )


def _kind(connections: Connections) -> str:
    return "new" if connections is Connections.NEW else "keep-alive"
