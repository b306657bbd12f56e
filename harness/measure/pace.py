"""How long a run takes, before it starts; and how many rounds fit into a budget.

The first guess is what bring-up and legs took on two cores; after the pilot, blocks are what they
took there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.measure.plan import Comparison, Design

FEWEST_ROUNDS = 2
MOST_ROUNDS = 200

PILOT_SHARE = 0.12
"""Of a budget, which the pilot may take."""

FEWEST_PILOT_ROUNDS = 2
MOST_PILOT_ROUNDS = 4


REST_WINDOWS = 6
REST_WINDOW = 1.0
"""Seconds; a daemon that does its work once a second does it once in each."""

REST_SECONDS = REST_WINDOWS * REST_WINDOW
"""How long each daemon is watched at rest in each size."""

CALM_SECONDS = 8.0
"""How long the machine is watched before the pilot and in each size, where it is calm by then."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that the parts of a run take."""

    start: float = 20.0
    """Cluster up without pods, enforcer ready, report, teardown."""

    node: float = 0.3
    pod: float = 0.04
    install: float = 4.0
    """Of each enforcer, until probes prove it."""

    visit_overhead: float = 5.0
    """Of starting locust, until its users are there, and ending it, until all is counted."""

    leg_overhead: float = 0.1
    """Of starting ab, and reading what is beside it."""

    switch_on: float = 0.35
    """Its probe has to wait for silence."""

    switch_off: float = 0.05

    block: float | None = None
    """Of a whole block, as the pilot measured it; None: reckoned from its parts."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is built, and how long locust visits."""

    nodes: int
    pods: int
    """At the largest size."""

    visits: int
    visit_seconds: float
    """Of each visit."""

    pilot_rounds: int = FEWEST_PILOT_ROUNDS


def fixed_seconds(pace: Pace, design: Design, extent: Extent) -> float:
    """Return what a run takes apart from its blocks."""
    building = pace.node * extent.nodes + pace.pod * extent.pods
    tastes = len(list(design.cells(design.sizes[-1]))) * (design.leg_seconds + pace.leg_overhead)
    pilot = tastes + extent.pilot_rounds * _swept_seconds(pace, design)
    installing = pace.install * len(design.enforcers) + rests_seconds(design)
    return pace.start + building + installing + pilot + visits_seconds(pace, extent)


def pilot_rounds(pace: Pace, design: Design, budget: float | None) -> int:
    """Return how many rounds of blocks the pilot has: more tell the noise better."""
    wanted = 0 if budget is None else int(PILOT_SHARE * budget / _swept_seconds(pace, design))
    return max(FEWEST_PILOT_ROUNDS, min(MOST_PILOT_ROUNDS, wanted))


def _swept_seconds(pace: Pace, design: Design) -> float:
    """Return what a round of the sweep takes, as the pilot has it: nothing elsewhere."""
    swept = replace(design, elsewhere=())
    return swept.blocks_in_round(swept.sizes[0]) * block_seconds(pace, design)


def rests_seconds(design: Design) -> float:
    """Return what it takes to watch the machine and the daemons at rest, in every size."""
    watched = Comparison.EFFECT in design.comparisons
    daemons = len(design.enforcers) * REST_SECONDS if watched else 0.0
    return len(design.sizes) * (CALM_SECONDS + daemons)


def visits_seconds(pace: Pace, extent: Extent) -> float:
    """Return what locust's visits take."""
    return extent.visits * (extent.visit_seconds + pace.visit_overhead)


def block_seconds(pace: Pace, design: Design) -> float:
    """Return what a block takes on average over the comparisons of the design."""
    if pace.block is not None:
        return pace.block
    legs = 2 * (design.leg_seconds + pace.leg_overhead)
    controls = sum(trial.comparison is Comparison.CONTROL for trial in design.trials)
    effects = 1 - controls / len(design.trials)
    switches = effects * (pace.switch_on + pace.switch_off) + (1 - effects) * 2 * pace.switch_off
    return legs + switches


def blocks_seconds(pace: Pace, design: Design) -> float:
    """Return what all blocks of the design take."""
    return design.blocks_in_all * block_seconds(pace, design)


def total_seconds(pace: Pace, design: Design, extent: Extent) -> float:
    """Return what the whole run takes, bring-up and teardown included."""
    return fixed_seconds(pace, design, extent) + blocks_seconds(pace, design)


def fit(pace: Pace, design: Design, seconds: float) -> Design:
    """Return the design with as many rounds as fit into ``seconds`` of blocks."""
    one_round = blocks_seconds(pace, replace(design, rounds=1))
    rounds = max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(seconds / one_round)))
    return replace(design, rounds=rounds)
