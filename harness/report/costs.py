"""The costs apart: each arm beside ``off``, in requests per second and in CPU time per request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.load.ab import Connections
from harness.measure.plan import Comparison
from harness.report import findings, style
from harness.report.analysis import Analysis, Cost, in_the_study
from harness.report.style import Look
from harness.stats import Estimate

CAPTION = (
    "Each arm over off, pooled over the concurrency sweep, with 95 % intervals; in grey the A/A "
    "control. Above: requests per second. Below: CPU seconds per request of the machine, the "
    "enforcer's daemons left out."
)

LOOKS: Mapping[Comparison, Look] = {
    Comparison.EFFECT: style.ON,
    Comparison.RULES: style.RULES,
    Comparison.IDLE: style.IDLE,
    Comparison.BARE: style.BARE,
    Comparison.CONTROL: style.CONTROL,
}
_SPAN = 0.64  # of a condition, which the arms share


def shown(analysis: Analysis) -> bool:
    """Whether there is more to tell apart than on and off."""
    known = {cost.comparison for cost in analysis.costs if cost.rate is not None}
    return bool(known - {Comparison.EFFECT, Comparison.CONTROL})


def draw(analysis: Analysis, enforcer: str) -> Figure:
    """Draw both quantities, one above the other, condition by condition."""
    figure = Figure(figsize=(8.4, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _panel(above, analysis.costs, lambda cost: cost.rate)
    _panel(below, analysis.costs, lambda cost: cost.cpu)
    above.set_ylabel("ratio of requests per second")
    below.set_ylabel("ratio of CPU s per request")
    above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.2)
    style.title(figure, title(analysis, enforcer))
    return figure


def title(analysis: Analysis, enforcer: str) -> str:
    """Return the finding: how far each arm is from off, with new connections."""
    parts = []
    for comparison in Comparison:
        found = [
            cost.rate.ratio
            for cost in analysis.costs
            if cost.comparison is comparison
            and cost.connections is Connections.NEW
            and cost.rate is not None
            and comparison is not Comparison.CONTROL
        ]
        if found:
            parts.append(f"{comparison.value} {findings.span(found)}")
    said = "; ".join(parts) or "no arm could be compared"
    return f"{enforcer}, requests per second with a new connection each: {said}"


def sentences(analysis: Analysis, study: Mapping[str, Any], nodes: int) -> list[str]:
    """Return what the arms say of the study's nodes; ``nodes`` is how many ran the enforcer."""
    said = []
    for rules in analysis.costs:
        running = _same(analysis.costs, rules, Comparison.EFFECT)
        if rules.comparison is not Comparison.RULES or not rules.rate or not running:
            continue
        daemon = running.daemon / max(1, nodes)
        ratio, low, high = in_the_study(rules.rate, daemon)
        bounds = f" ({low:.3f} to {high:.3f})" if math.isfinite(high) else ""
        said.append(
            f"{_kind(rules.connections)}, {findings.density(rules.size, study)} pods a node: the "
            f"rules alone {findings.ratio(rules.rate)}; the daemon takes {daemon:.2f} CPU seconds "
            f"a second on a node; so {ratio:.3f}{bounds} on a node of 2 CPUs"
        )
    return said


def name(comparison: Comparison) -> str:
    """Return what a legend calls a comparison."""
    return "A/A (off/off)" if comparison is Comparison.CONTROL else comparison.value


def _same(costs: Sequence[Cost], like: Cost, comparison: Comparison) -> Cost | None:
    alike = (
        cost
        for cost in costs
        if (cost.size, cost.connections) == (like.size, like.connections)
        and cost.comparison is comparison
    )
    return next(alike, None)


def _panel(axes: Axes, costs: Sequence[Cost], quantity: Callable[[Cost], Estimate | None]) -> None:
    conditions = list(dict.fromkeys((cost.connections, cost.size) for cost in costs))
    arms = [each for each in Comparison if any(cost.comparison is each for cost in costs)]
    axes.axhline(1.0, color=style.INK, linewidth=1)
    for number, arm in enumerate(arms):
        apart = _SPAN * ((number + 0.5) / len(arms) - 0.5)
        mine = [cost for cost in costs if cost.comparison is arm]
        points = [
            (conditions.index((cost.connections, cost.size)) + apart, found)
            for cost in mine
            if (found := quantity(cost)) is not None
        ]
        series(axes, points, LOOKS[arm], name(arm), linestyle="none", elinewidth=1.4)
    labels = [f"{_kind(kind)}\n{size} a service" for kind, size in conditions]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.grid(visible=False, axis="x")


def series(
    axes: Axes, points: Sequence[tuple[float, Estimate]], look: Look, label: str, **line: Any
) -> None:
    """Draw estimates with their intervals, in the look of their comparison."""
    spread = [
        [each.ratio - each.interval[0] for _, each in points],
        [each.interval[1] - each.ratio for _, each in points],
    ]
    finite = all(math.isfinite(value) for side in spread for value in side)
    axes.errorbar(
        [x for x, _ in points],
        [each.ratio for _, each in points],
        yerr=spread if finite else None,
        color=look.color,
        marker=look.marker,
        markerfacecolor=look.fill,
        capsize=3,
        label=label,
        **line,
    )


def _kind(connections: Connections) -> str:
    return "new" if connections is Connections.NEW else "keep-alive"
