"""Cost against the number of pods on a node: whether it grows, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.load.ab import Connections
from harness.measure.plan import Comparison
from harness.report import costs, findings, style
from harness.report.analysis import Analysis, Cost, change

CAPTION = (
    "CPU seconds per request over those with enforcement off, against pods on the node, with 95 % "
    "intervals; the enforcer's daemons left out; in grey the A/A control. A cross: invalid."
)

FEWEST_SIZES = 3
"""Below, there is no curve to draw."""

ENDS = 2
"""Valid sizes that a change is told of."""


def shown(analysis: Analysis, study: Mapping[str, Any]) -> bool:
    """Whether there are sizes enough, and their pods a node known."""
    return len({_pods(cost, study) for cost in _drawn(analysis)} - {None}) >= FEWEST_SIZES


def draw(analysis: Analysis, study: Mapping[str, Any]) -> Figure:
    """Draw a panel for each kind of connection, a line for each arm of each enforcer."""
    kinds = [kind for kind in Connections if any(c.connections is kind for c in _drawn(analysis))]
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        _panel(axes, analysis, kind, study)
        axes.set_title(findings.KIND[kind])
    panels[0].set_ylabel("ratio of CPU s per request")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    style.title(figure, title(analysis, study))
    return figure


def title(analysis: Analysis, study: Mapping[str, Any]) -> str:
    """Return the finding: how ``on`` changes from the fewest pods to the most, new connections."""
    said = [
        found for name in analysis.enforcers if (found := _grows(analysis, name, study)) is not None
    ]
    if not said:
        return "CPU time per request against pods on the node"
    return "\n".join(("CPU time per request, a new connection each:", *said))


def _grows(analysis: Analysis, enforcer: str, study: Mapping[str, Any]) -> str | None:
    found = [
        cost
        for cost in _drawn(analysis)
        if cost.connections is Connections.NEW
        and cost.comparison is Comparison.EFFECT
        and cost.enforcer == enforcer
    ]
    if len(found) < FEWEST_SIZES:
        return None
    valid = [each for each in found if findings.is_valid(each.cpu_verdict)]
    if len(valid) < ENDS:
        return f"{enforcer} cannot be told: {len(valid)} of {len(found)} verdicts are valid"
    ends = (valid[0], valid[-1])
    first, last = (each.cpu for each in ends)
    assert first is not None  # noqa: S101  # only such are drawn
    assert last is not None  # noqa: S101
    mean, low, high = (math.exp(each) for each in change(first, last))
    word = "grows" if low > 1 else "falls" if high < 1 else "shows no change"
    sizes = " to ".join(findings.density(cost.size, study) for cost in ends)
    return f"{enforcer} {word} from {sizes} pods a node, by {mean:.3f} ({low:.3f} to {high:.3f})"


def _drawn(analysis: Analysis) -> list[Cost]:
    return [cost for cost in analysis.costs if cost.cpu is not None]


def _pods(cost: Cost, study: Mapping[str, Any]) -> float | None:
    known: float | None = study.get("sizes", {}).get(str(cost.size), {}).get("pods_per_node")
    return known


def _panel(axes: Axes, analysis: Analysis, kind: Connections, study: Mapping[str, Any]) -> None:
    mine = [cost for cost in _drawn(analysis) if cost.connections is kind]
    axes.axhline(1.0, color=style.INK, linewidth=1)
    for trial in _lines(analysis, mine):
        points = [
            (pods, cost.cpu, findings.is_valid(cost.cpu_verdict))
            for cost in mine
            if (cost.enforcer, cost.comparison) == trial
            and cost.cpu is not None
            and (pods := _pods(cost, study)) is not None
        ]
        if not points:
            continue
        look = costs.look(analysis, *trial)
        costs.series(axes, points, look, costs.name(*trial), linestyle=look.line)
    axes.set_xlim(left=0)
    axes.set_xlabel("pods on the node")


def _lines(analysis: Analysis, mine: Sequence[Cost]) -> list[tuple[str, Comparison]]:
    """Return whose arms are drawn: of several enforcers ``on`` alone, or nothing can be seen."""
    kinds = set(Comparison)
    if len(analysis.enforcers) > 1:
        kinds = {Comparison.EFFECT, Comparison.CONTROL}
    return [trial for trial in costs.trials(mine) if trial[1] in kinds]
