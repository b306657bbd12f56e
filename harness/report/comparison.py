"""Two perf runs side by side: whether the cost changed where both measured it.

Compared are the ratios of each run (an arm over ``off``, measured in that run), never rates of one
run with rates of another: a machine is another machine tomorrow. Even so, only like is compared
with like: :func:`unlike` names what differs between the machines and the clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.load.ab import Connections
from harness.measure import blocks, notes
from harness.measure.plan import Comparison
from harness.report import analysis, findings
from harness.report.analysis import Cost
from harness.results import RunFolder, enforcers_of
from harness.stats import MARGIN, Verdict, Word

MACHINE = ("kernel", "architecture", "cpu", "cpus", "versions", "sysctls")
"""Of ``env.json``: what a ratio may hang on."""

MEMORY_TOLERANCE = 0.05
"""Share by which the memory of like machines may differ: kernels keep different parts of it."""

CLUSTER = (
    *("cluster", "control_plane", "nodes", "cni", "bridge_netfilter", "proxy", "masquerade"),
    "services",
)
"""Of the settings in ``run.json``: what is built."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one cost, from the first run to the second."""

    enforcer: str
    """Empty where each run has one, which may be another."""

    size: int
    connections: Connections
    comparison: Comparison
    first: Cost
    second: Cost

    @property
    def factor(self) -> tuple[float, float, float] | None:
        """The second ratio over the first, with bounds; None where one of them is not known."""
        if self.first.rate is None or self.second.rate is None:
            return None
        mean, low, high = analysis.change(self.first.rate, self.second.rate)
        return math.exp(mean), math.exp(low), math.exp(high)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the second run beside the first."""
        for name, cost in (("first", self.first), ("second", self.second)):
            if cost.verdict.word is Word.INVALID:
                return Verdict(Word.INVALID, f"{name} run: {cost.verdict.detail}")
        if self.factor is None or self.first.rate is None or self.second.rate is None:
            return Verdict(Word.INVALID, "no block counts")
        _, low, high = self.factor
        if high < 1:
            return Verdict(Word.SLOWER)
        if low > 1:
            return Verdict(Word.FASTER)
        if low >= 1 / (1 + MARGIN) and high <= 1 + MARGIN:
            return Verdict(Word.EQUIVALENT, f"{MARGIN:.0%}")
        sees = math.hypot(self.first.rate.sees, self.second.rate.sees)
        return Verdict(Word.INDISTINCT, f"{sees:.1%}")


def unlike(first: RunFolder, second: RunFolder) -> list[str]:
    """Return each difference that forbids a comparison, in words; none for like machines."""
    machines = (run.read_json("env.json") for run in (first, second))
    settings = [run.read_json("run.json")["settings"] for run in (first, second)]
    varied = [{"varied": findings.unit(run.read_json(notes.FILE))} for run in (first, second)]
    return [
        *unlike_machines(*machines),
        *_differences(settings[0], settings[1], CLUSTER),
        *_differences(varied[0], varied[1], ("varied",)),
    ]


def unlike_machines(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return each difference between two machines, as ``env.json`` has them."""
    memory = (machine.get("memory_bytes", 0) for machine in (first, second))
    return [*_differences(first, second, MACHINE), *_memory(*memory)]


def changes(first: RunFolder, second: RunFolder) -> Iterator[Change]:
    """Yield the change of every cost that both runs measured, the A/A controls left out."""
    alone = all(len(enforcers_of(run.read_json("run.json"))) == 1 for run in (first, second))
    known = {_key(cost, alone=alone): cost for cost in _costs(first)}
    for cost in _costs(second):
        key = _key(cost, alone=alone)
        before = known.get(key)
        if before is not None and cost.comparison is not Comparison.CONTROL:
            yield Change(*key, before, cost)


def _costs(run: RunFolder) -> tuple[Cost, ...]:
    study = run.read_json(notes.FILE)
    rows = blocks.read(run.path / blocks.FILE)
    return analysis.analyse(rows, int(study["design"]["seed"])).costs


def _key(cost: Cost, *, alone: bool) -> tuple[str, int, Connections, Comparison]:
    return "" if alone else cost.enforcer, cost.size, cost.connections, cost.comparison


def _differences(
    first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, ...]
) -> Iterator[str]:
    for name in names:
        one, other = first.get(name, "unknown"), second.get(name, "unknown")
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            inner = tuple(dict.fromkeys((*one, *other)))
            yield from _differences(one, other, inner)
        elif one != other:
            yield f"{name}: {one} and {other}"


def _memory(first: float, second: float) -> Iterator[str]:
    if abs(first - second) > MEMORY_TOLERANCE * max(first, second):
        yield f"memory: {first / 2**30:.1f} GiB and {second / 2**30:.1f} GiB"
