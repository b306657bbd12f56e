"""From estimates to sentences: what the figures' titles and the first screen say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.load.ab import Connections
from harness.measure.blocks import FILE as BLOCKS
from harness.measure.plan import Comparison
from harness.report.analysis import Analysis, Headline, change
from harness.report.evidence import headline_href
from harness.stats import Estimate, Verdict, Word
from harness.workload.sweep import UNITS, Quantity, counted

KIND = {Connections.NEW: "a new connection each", Connections.KEPT: "kept connections"}
MOST_SIZES = 3
"""That a sentence tells one by one; of more it tells the first and the last."""

STUDY_CLAIM = "10 to 20 % lower"
"""Of the study, for kube-router 0.2.0 and connections not kept."""


def ratio(estimate: Estimate) -> str:
    """Return a ratio with its interval, as a figure in a sentence."""
    low, high = estimate.interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{estimate.ratio:.3f} (one pair: no interval)"
    return f"{estimate.ratio:.3f} ({low:.3f} to {high:.3f})"


def linked(text: str, href: str) -> str:
    """Return a figure with the file that it was read from, as Markdown has links."""
    return f"[{text}]({href})"


def quantity(study: Mapping[str, Any]) -> Quantity:
    """Return what the sizes of a run are numbers of; pods before format 4."""
    return Quantity(study.get("design", {}).get("quantity", Quantity.PODS.value))


def unit(study: Mapping[str, Any]) -> str:
    """Return what the sizes of a run count, in words."""
    return UNITS[quantity(study)]


def brief(size: int, study: Mapping[str, Any]) -> str:
    """Return a size as a label has it: ``8 a service``, ``100 peers``."""
    return f"{size} {_without_pods(counted(size, quantity(study)).partition(' ')[2])}"


def _short_unit(study: Mapping[str, Any]) -> str:
    return _without_pods(unit(study))


def _without_pods(words: str) -> str:
    return words.removeprefix("pods ").removeprefix("pod ")


def amount(size: int, study: Mapping[str, Any]) -> str:
    """Return a size as a sentence has it: ``80 pods a node``, ``100 peers``."""
    if quantity(study) is Quantity.PODS:
        return f"{density(size, study)} pods a node"
    return counted(size, quantity(study))


def between(first: int, last: int, study: Mapping[str, Any]) -> str:
    """Return two sizes as a sentence has them: ``20 to 80 pods a node``."""
    return f"{amount(first, study).partition(' ')[0]} to {amount(last, study)}"


def scale(size: int, study: Mapping[str, Any]) -> str:
    """Return a size with the density that belongs to it."""
    return f"{counted(size, quantity(study))}, {density(size, study)} {_per_node(study)}"


def _per_node(study: Mapping[str, Any]) -> str:
    return "a node" if quantity(study) is Quantity.PODS else "pods a node"


def curve_title(headlines: Sequence[Headline], study: Mapping[str, Any]) -> str:
    """Return the finding that a figure of curves shows: a rate only where one can be told."""
    kind = KIND[headlines[0].connections]
    found = [each for each in headlines if each.effect is not None]
    if not found:
        return f"ab, {kind}: requests per second without an enforcer"
    names = dict.fromkeys(each.enforcer for each in found)
    if len(names) > 1:
        each_of = ([each for each in found if each.enforcer == name] for name in names)
        said = (_told_at(mine, study) for mine in each_of)
        return f"With {kind}, of the rate without enforcement: {'; '.join(said)}"
    words = "; ".join(f"{brief(each.size, study)}: {each.verdict}" for each in found)
    name = found[0].enforcer
    if not any(is_valid(each.verdict) for each in found):
        return f"With {kind}, no verdict on {name} is valid\n{words}"
    if _none_told(found):
        return f"With {kind}, no difference can be told between {name} and none\n{words}"
    return f"With {kind}, {_told_at(found, study)} of the rate without enforcement\n{words}"


def is_valid(verdict: Verdict | None) -> bool:
    """Whether there is a verdict that says something."""
    return verdict is not None and verdict.word is not Word.INVALID


def _none_told(found: Sequence[Headline]) -> bool:
    valid = (each.verdict for each in found if is_valid(each.verdict))
    return all(each is not None and each.word is Word.INDISTINCT for each in valid)


def _told_at(found: Sequence[Headline], study: Mapping[str, Any]) -> str:
    """Return an enforcer's rates where they are valid, and the sizes at which they are not."""
    name, valid = found[0].enforcer, [each for each in found if is_valid(each.verdict)]
    if not valid:
        return f"{name} invalid"
    sizes = ", ".join(str(each.size) for each in found if each not in valid)
    but = f" (invalid at {sizes} {_short_unit(study)})" if sizes else ""
    if _none_told(found):
        return f"{name} no difference told{but}"
    rates = _percentspan([each.effect.ratio for each in valid if each.effect])
    return f"{name} runs at {rates}{but}"


def ratio_title(analysis: Analysis) -> str:
    """Return the finding that the summary of ratios shows."""
    found = [each for each in analysis.headlines if each.effect is not None]
    if not found:
        return "No enforcer: the A/A control alone"
    lines = []
    for name in analysis.enforcers:
        mine = [each for each in found if each.enforcer == name]
        words = Counter(each.verdict.word.value for each in mine if each.verdict)
        counted = ", ".join(f"{word} in {number}" for word, number in words.most_common())
        lines.append(f"{name} on over off: {counted} of {len(mine)} conditions")
    return "\n".join(lines)


def sentences(analysis: Analysis, study: Mapping[str, Any], locust: Mapping[str, Any]) -> list[str]:
    """Return the answer in five sentences; each figure in them is also in the tables."""
    return [
        _kind_sentence(analysis, Connections.NEW, study),
        _kind_sentence(analysis, Connections.KEPT, study),
        _growth_sentence(analysis, study),
        _control_sentence(analysis, study),
        _quality_sentence(analysis, locust),
    ]


def _kind_sentence(analysis: Analysis, kind: Connections, study: Mapping[str, Any]) -> str:
    headlines = analysis.of(kind)
    if not headlines:
        return "Not run: one of new and kept connections was left out of this run."
    found = [each for each in headlines if each.effect is not None]
    if not found:
        points = (each.points for sweep in analysis.sweeps for each in sweep.curves)
        rates = [point.rps for each in points for point in each]
        if not rates:
            return f"With {KIND[kind]}, no block counts."
        return (
            f"With {KIND[kind]}, ab reached {max(rates):,.0f} requests per second; no enforcer "
            "was compared."
        )
    said = []
    for name in dict.fromkeys(each.enforcer for each in found):
        mine = [each for each in found if each.enforcer == name]
        ends = mine if len(mine) <= MOST_SIZES else [mine[0], mine[-1]]
        said.append(f"{name} {'; '.join(_effect(each, study) for each in ends)}")
    return f"With {KIND[kind]}, requests per second on over off: {'. '.join(said)}."


def _effect(headline: Headline, study: Mapping[str, Any]) -> str:
    assert headline.effect is not None  # noqa: S101  # only such are told
    figure = linked(ratio(headline.effect), headline_href(headline, Comparison.EFFECT))
    return f"{figure} at {amount(headline.size, study)}: {headline.verdict}"


def _growth_sentence(analysis: Analysis, study: Mapping[str, Any]) -> str:
    said = []
    for name in analysis.enforcers:
        found = [each for each in analysis.of(Connections.NEW, name) if each.effect is not None]
        valid = [each for each in found if is_valid(each.verdict)]
        if len(valid) > 1:
            said.append(f"{name}'s changes {_growth(valid[0], valid[-1], study)}")
        elif len(found) > 1:
            said.append(f"{name}'s cannot be told, with {len(valid)} valid verdict of {len(found)}")
    claim = f"(the study, with kube-router 0.2.0: {STUDY_CLAIM})"
    used = _cpu_clause(analysis, study)
    if not said:
        one = len({each.size for each in analysis.of(Connections.NEW)}) == 1
        why = "One size was compared" if one else "Of no two sizes is a ratio known"
        return f"{why}: nothing is said about growth {claim}{used}."
    more = f"With more {quantity(study).value} that ratio, of new connections"
    return f"{more}: {'; '.join(said)} {claim}{used}."


def _cpu_clause(analysis: Analysis, study: Mapping[str, Any]) -> str:
    """Return what a request takes in the largest size by the quieter quantity, as a clause."""
    largest = max((each.size for each in analysis.headlines), default=0)
    said = [
        f"{each.enforcer} {linked(ratio(each.cpu), headline_href(each, Comparison.EFFECT))}"
        f" ({each.cpu_verdict})"
        for each in analysis.of(Connections.NEW)
        if each.size == largest and each.cpu is not None
    ]
    if not said:
        return ""
    return f"; CPU seconds per request, on over off, at {amount(largest, study)}: {', '.join(said)}"


def _growth(first: Headline, last: Headline, study: Mapping[str, Any]) -> str:
    assert first.effect is not None  # noqa: S101  # only such are told
    assert last.effect is not None  # noqa: S101
    mean, low, high = (math.exp(each) for each in change(first.effect, last.effect))
    grows = "it falls" if high < 1 else "it rises" if low > 1 else "no change shows"
    sizes = between(first.size, last.size, study)
    return f"from {sizes} by a factor of {mean:.3f} ({low:.3f} to {high:.3f}), {grows}"


def _control_sentence(analysis: Analysis, study: Mapping[str, Any]) -> str:
    found = [(each, each.control) for each in analysis.headlines if each.control is not None]
    if not found:
        return "No A/A control was completed, so the instrument itself is unproved."
    where, worst = max(found, key=lambda each: abs(each[1].mean))
    farthest = linked(ratio(worst), headline_href(where, Comparison.CONTROL))
    return (
        f"The same arm against itself, interleaved, gave {span([each.ratio for _, each in found])}"
        f" (farthest from 1: {farthest}){_promises(analysis, study)}."
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
        f"Of {linked(str(tally.blocks), BLOCKS)} blocks {tally.void} are void by the rules "
        f"declared beforehand, and {tally.failed} requests failed{visited}."
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
