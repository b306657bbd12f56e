"""Cost against what a run varies (pods, peers, policies, rules): whether it grows, by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from harness.load.ab import Connections
from harness.measure.plan import Comparison
from harness.report import costs, findings, style
from harness.report.analysis import Analysis, Cost, change
from harness.workload.sweep import Quantity

FEWEST_SIZES = 3
"""Below, there is no curve to draw."""

WIDE = 50
"""How often the smallest size is in the largest, if their axis is to be logarithmic."""

ENDS = 2
"""Valid sizes that a change is told of."""


_AXES = {
    Quantity.PODS: "pods on the node",
    Quantity.PEERS: "peers of a rule",
    Quantity.POLICIES: "policies that select the servers",
    Quantity.RULES: "rules of a policy",
}


def caption(study: Mapping[str, Any]) -> str:
    """Return what the figure shows."""
    against = _AXES[findings.quantity(study)]
    return (
        f"CPU seconds per request over those with enforcement off, against {against}, with 95 % "
        "intervals; the enforcer's daemons left out; in grey the A/A control. A cross: invalid."
    )


def shown(analysis: Analysis, study: Mapping[str, Any]) -> bool:
    """Whether there are sizes enough, and what they amount to is known."""
    return len({_amount(cost, study) for cost in _drawn(analysis)} - {None}) >= FEWEST_SIZES


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
        return f"CPU time per request against {_AXES[findings.quantity(study)]}"
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
    sizes = findings.between(ends[0].size, ends[1].size, study)
    return f"{enforcer} {word} from {sizes}, by {mean:.3f} ({low:.3f} to {high:.3f})"


def _drawn(analysis: Analysis) -> list[Cost]:
    return [cost for cost in analysis.costs if cost.cpu is not None]


def _amount(cost: Cost, study: Mapping[str, Any]) -> float | None:
    """Return where a cost stands: at the pods of its node, or at its size of a sweep."""
    if findings.quantity(study) is not Quantity.PODS:
        return cost.size
    known: float | None = study.get("sizes", {}).get(str(cost.size), {}).get("pods_per_node")
    return known


def _panel(axes: Axes, analysis: Analysis, kind: Connections, study: Mapping[str, Any]) -> None:
    mine = [cost for cost in _drawn(analysis) if cost.connections is kind]
    axes.axhline(1.0, color=style.INK, linewidth=1)
    for trial in _lines(analysis, mine):
        points = [
            (amount, cost.cpu, findings.is_valid(cost.cpu_verdict))
            for cost in mine
            if (cost.enforcer, cost.comparison) == trial
            and cost.cpu is not None
            and (amount := _amount(cost, study)) is not None
        ]
        if not points:
            continue
        look = costs.look(analysis, *trial)
        costs.series(axes, points, look, costs.name(*trial), linestyle=look.line)
    amounts = sorted({amount for cost in mine if (amount := _amount(cost, study)) is not None})
    if amounts[-1] >= WIDE * amounts[0]:
        axes.set_xscale("log")
        axes.set_xticks(amounts, [f"{amount:,.0f}" for amount in amounts])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(_AXES[findings.quantity(study)])


def _lines(analysis: Analysis, mine: Sequence[Cost]) -> list[tuple[str, Comparison]]:
    """Return whose arms are drawn: of several enforcers ``on`` alone, or nothing can be seen."""
    kinds = set(Comparison)
    if len(analysis.enforcers) > 1:
        kinds = {Comparison.EFFECT, Comparison.CONTROL}
    return [trial for trial in costs.trials(mine) if trial[1] in kinds]
