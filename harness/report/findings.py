"""From estimates to sentences: what the figures' titles and the first screen say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.load.ab import Connections
from harness.report.analysis import Analysis, Headline, change
from harness.stats import Estimate, Word

KIND = {Connections.NEW: "a new connection each", Connections.KEPT: "kept connections"}
STUDY_CLAIM = "10 to 20 % lower"
"""Of the study, for kube-router 0.2.0 and connections not kept."""


def ratio(estimate: Estimate) -> str:
    """Return a ratio with its interval, as a figure in a sentence."""
    low, high = estimate.interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{estimate.ratio:.3f} (one pair: no interval)"
    return f"{estimate.ratio:.3f} ({low:.3f} to {high:.3f})"


def curve_title(enforcer: str, headlines: Sequence[Headline]) -> str:
    """Return the finding that a figure of curves shows: a rate only where one can be told."""
    kind = KIND[headlines[0].connections]
    found = [each for each in headlines if each.effect is not None]
    if not found:
        return f"ab, {kind}: requests per second without an enforcer"
    words = "; ".join(f"{each.size} a service: {each.verdict}" for each in found)
    if all(each.verdict and each.verdict.word is Word.INDISTINCT for each in found):
        return f"With {kind}, no difference can be told between {enforcer} and none\n{words}"
    rates = _percentspan([each.effect.ratio for each in found if each.effect])
    return f"With {kind}, {enforcer} runs at {rates} of the rate without enforcement\n{words}"


def ratio_title(enforcer: str, analysis: Analysis) -> str:
    """Return the finding that the summary of ratios shows."""
    found = [each for each in analysis.headlines if each.effect is not None]
    if not found:
        return "No enforcer: the A/A control alone"
    words = Counter(each.verdict.word.value for each in found if each.verdict)
    counted = ", ".join(f"{word} in {number}" for word, number in words.most_common())
    return f"{enforcer} on over off: {counted} of {len(found)} conditions"


def sentences(
    analysis: Analysis,
    run: Mapping[str, Any],
    study: Mapping[str, Any],
    locust: Mapping[str, Any],
) -> list[str]:
    """Return the answer in five sentences; each figure in them is also in the tables."""
    enforcer = run["settings"].get("enforcer", "the enforcer")
    return [
        _kind_sentence(enforcer, analysis.of(Connections.NEW), study),
        _kind_sentence(enforcer, analysis.of(Connections.KEPT), study),
        _growth_sentence(analysis),
        _control_sentence(analysis, study),
        _quality_sentence(analysis, locust),
    ]


def _kind_sentence(enforcer: str, headlines: Sequence[Headline], study: Mapping[str, Any]) -> str:
    if not headlines:
        return "Not run: one of new and kept connections was left out of this run."
    kind = KIND[headlines[0].connections]
    found = [each for each in headlines if each.effect is not None]
    if not found:
        points = [point for each in headlines for c in each.curves for point in c.points]
        if not points:
            return f"With {kind}, no block counts."
        best = max(point.rps for point in points)
        return f"With {kind}, ab reached {best:,.0f} requests per second; no enforcer was compared."
    parts = (
        f"{ratio(each.effect)} at {density(each.size, study)} pods a node, {each.verdict}"
        for each in found
        if each.effect is not None
    )
    return f"With {kind}, requests per second with {enforcer} on over off: {'; '.join(parts)}."


def _growth_sentence(analysis: Analysis) -> str:
    found = [each for each in analysis.of(Connections.NEW) if each.effect is not None]
    if len(found) < 2 or found[0].effect is None or found[-1].effect is None:  # noqa: PLR2004
        return f"One size was compared: nothing is said about growth (study: {STUDY_CLAIM})."
    mean, low, high = (math.exp(each) for each in change(found[0].effect, found[-1].effect))
    grows = "it falls" if high < 1 else "it rises" if low > 1 else "no change shows"
    return (
        f"From {found[0].size} to {found[-1].size} pods a service that ratio changes by a factor "
        f"of {mean:.3f} ({low:.3f} to {high:.3f}): {grows} (the study, with kube-router 0.2.0: "
        f"{STUDY_CLAIM})."
    )


def _control_sentence(analysis: Analysis, study: Mapping[str, Any]) -> str:
    found = [each.control for each in analysis.headlines if each.control is not None]
    if not found:
        return "No A/A control was completed, so the instrument itself is unproved."
    worst = max(found, key=lambda each: abs(each.mean))
    return (
        f"The same arm against itself, interleaved, gave {span([e.ratio for e in found])}"
        f" (farthest from 1: {ratio(worst)}){_promises(analysis, study)}."
    )


def _promises(analysis: Analysis, study: Mapping[str, Any]) -> str:
    """Return what the run said beforehand that it would see, and what it then could see."""
    said = []
    for connections in Connections:
        promise = promised(study, connections)
        saw = [e.sees for h in analysis.of(connections) for e in (h.effect, h.control) if e]
        if promise is not None and saw and math.isfinite(max(saw)):
            kind = KIND[connections]
            said.append(f"with {kind} {share(promise)} (in the end {_percents(saw)})")
    if not said:
        return ""
    return f"; the smallest effect it would see, as it said before it started: {', '.join(said)}"


def promised(study: Mapping[str, Any], connections: Connections) -> float | None:
    """Return the smallest effect that the run said it would see; runs of format 1 said one."""
    sees = study.get("sees")
    return sees.get(connections.value) if isinstance(sees, Mapping) else sees


def share(effect: float | None) -> str:
    """Return a smallest visible effect in words: one of 100 % and more is none at all."""
    if effect is None:
        return "unknown"
    return f"{effect:.1%}" if effect < 1 else "nothing"


def _percents(shares: Sequence[float]) -> str:
    low, high = share(min(shares)), share(max(shares))
    return low if low == high else f"{low} to {high}"


def _quality_sentence(analysis: Analysis, locust: Mapping[str, Any]) -> str:
    tally = analysis.tally
    visits = locust.get("visits", [])
    rates = (f"{each['rps']:,.0f} requests/s {each['arm']}" for each in visits)
    failures = sum(each["failures"] for each in visits)
    visited = f"; locust: {', '.join(rates)}, {failures} failures" if visits else ""
    return (
        f"Of {tally.blocks} blocks {tally.void} are void by the rules declared beforehand, and "
        f"{tally.failed} requests failed{visited}."
    )


def density(size: int, study: Mapping[str, Any]) -> str:
    """Return the pods a node at a size, as the run recorded them."""
    known = study.get("sizes", {}).get(str(size), {}).get("pods_per_node")
    return f"{known:.0f}" if known is not None else "an unknown number of"


def _percentspan(values: Sequence[float]) -> str:
    low, high = f"{100 * min(values):.1f}", f"{100 * max(values):.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def span(values: Sequence[float]) -> str:
    """Return the range of some ratios, or the one that they all are."""
    low, high = min(values), max(values)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
