"""The plan of a run: which equal pieces of work are done in which order, drawn by a seeded coin.

A *cell* is a condition (size, placement, connections, concurrency). A *block* is a pair of legs
in one cell, close in time: an enforcer's arm and ``off`` (the effect), or ``off`` and ``off`` (the
A/A control, of the same length). The coin draws which leg is first, the order of what is tried in
each cell, every enforcer's arms among it, and the order of the cells in each round. The same seed
gives the same plan.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from harness.load.ab import Connections
from harness.workload.sweep import PODS_EACH, Quantity

T = TypeVar("T")

NOBODY = "none"
"""Whose an arm is in which no enforcer acts."""


class Arm(enum.Enum):
    """What enforcement is doing while a leg runs."""

    BARE = "bare"
    """As ``off``, and nothing is tracked on the measured node: to pod addresses only."""

    OFF = "off"
    """Daemon stopped, rules out of the way, conntrack as on any node."""

    IDLE = "idle"
    """Daemon running, no policy selects a pod."""

    ON = "on"
    """Daemon running, its rules acting."""

    RULES = "rules"
    """Its rules acting, the daemon stopped in its tracks."""


class Placement(enum.Enum):
    """Where the client is and what it asks."""

    SERVICE = "outside-service"
    """From outside, in 14.215.0.0/16, through the Service's ClusterIP."""

    POD = "outside-pod"
    """From the same place, straight to the pod's address."""

    SAME_NODE = "same-node"
    """From a pod on the servers' own node, through a Service's ClusterIP."""

    OTHER_NODE = "other-node"
    """From a pod on another node, through that Service: two nodes' enforcement is crossed."""


ELSEWHERE = (Placement.OTHER_NODE, Placement.SAME_NODE, Placement.POD)
"""The placements that are no part of the sweep."""


class Comparison(enum.Enum):
    """What the two legs of a block are compared for."""

    EFFECT = "on/off"
    RULES = "rules/off"
    IDLE = "idle/off"
    BARE = "bare/off"
    CONTROL = "a/a"

    @property
    def test_arm(self) -> Arm:
        """The arm of the leg above the line; below it is always ``off``."""
        return Arm.OFF if self is Comparison.CONTROL else Arm(self.value.partition("/")[0])

    @property
    def placement(self) -> Placement:
        """Where it is swept: through the Service, unless that cannot work without tracking."""
        return Placement.POD if self is Comparison.BARE else Placement.SERVICE

    @property
    def has_enforcer(self) -> bool:
        """Whether an enforcer has to do with it: each one of a run has blocks of its own."""
        return self in {Comparison.EFFECT, Comparison.RULES, Comparison.IDLE}


class Role(enum.Enum):
    """Which leg is above the line of the ratio."""

    TEST = "test"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition of measurement; ``size`` is pods per interfering service, or what is swept."""

    size: int
    placement: Placement
    connections: Connections
    concurrency: int

    def __str__(self) -> str:
        """Return a name that is also good for a file."""
        parts = (f"s{self.size}", self.placement.value, self.connections.value)
        return "-".join((*parts, f"c{self.concurrency}"))


@dataclass(frozen=True, slots=True)
class Trial:
    """What is compared with ``off``, and whose it is."""

    comparison: Comparison
    enforcer: str = NOBODY


@dataclass(frozen=True, slots=True)
class Leg:
    """One piece of work in a block."""

    arm: Arm
    role: Role


@dataclass(frozen=True, slots=True)
class Block:
    """Two legs of equal work in one cell, in the order in which they run."""

    number: int
    cell: Cell
    trial: Trial
    legs: tuple[Leg, Leg]

    @property
    def comparison(self) -> Comparison:
        """What its legs are compared for."""
        return self.trial.comparison


@dataclass(frozen=True, slots=True)
class Design:
    """What a run varies. Its blocks are ``rounds`` times every cell and trial."""

    sizes: tuple[int, ...] = (2, 6, 8)
    quantity: Quantity = Quantity.PODS
    """Of what the sizes are numbers."""

    concurrencies: tuple[int, ...] = (1, 4, 16, 64, 256)
    connections: tuple[Connections, ...] = (Connections.NEW, Connections.KEPT)
    comparisons: tuple[Comparison, ...] = (Comparison.EFFECT, Comparison.CONTROL)
    enforcers: tuple[str, ...] = ("bundled",)
    """By the names that the run has for them."""

    rounds: int = 6
    leg_seconds: float = 0.4
    """How long a leg should take; the pilot turns it into a number of requests."""

    elsewhere: tuple[Placement, ...] = ()
    """Placements beside the sweep: at one concurrency, in the largest size."""

    elsewhere_concurrency: int = 64
    elsewhere_visits: int = 2
    """Of each such cell in a round: it has one concurrency's blocks to be told from, not five's."""

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What is compared with ``off`` in this run."""
        return tuple(
            Trial(comparison, enforcer)
            for comparison in self.comparisons
            for enforcer in (self.enforcers if comparison.has_enforcer else (NOBODY,))
        )

    @property
    def placements(self) -> tuple[Placement, ...]:
        """The placements that are measured."""
        swept = (each.placement for each in self.comparisons)
        return tuple(dict.fromkeys((*swept, *self.elsewhere)))

    def pods_each(self, size: int) -> int:
        """Return the pods of each interfering Service at a size."""
        return size if self.quantity is Quantity.PODS else PODS_EACH

    def trials_in(self, cell: Cell) -> tuple[Trial, ...]:
        """Return what is compared in a cell: elsewhere, an enforcer on, and the control."""
        chosen = set()
        if cell.concurrency in self.concurrencies:
            chosen = {each for each in Comparison if each.placement is cell.placement}
        if self._is_elsewhere(cell):
            chosen |= {Comparison.EFFECT, Comparison.CONTROL}
        return tuple(trial for trial in self.trials if trial.comparison in chosen)

    def cells(self, size: int) -> Iterator[Cell]:
        """Yield the cells of one size, in the order of their placements."""
        for placement in self.placements:
            for connections in self.connections:
                for concurrency in sorted({*self.concurrencies, self.elsewhere_concurrency}):
                    cell = Cell(size, placement, connections, concurrency)
                    if self.trials_in(cell):
                        yield cell

    def visits(self, cell: Cell) -> int:
        """Return how often a round comes to a cell."""
        return self.elsewhere_visits if self._is_elsewhere(cell) else 1

    def blocks_in_round(self, size: int) -> int:
        """Return how many blocks one round of a size has."""
        return sum(self.visits(cell) * len(self.trials_in(cell)) for cell in self.cells(size))

    @property
    def blocks_in_all(self) -> int:
        """How many blocks the whole run has."""
        return self.rounds * sum(self.blocks_in_round(size) for size in self.sizes)

    @property
    def pairs_per_estimate(self) -> int:
        """How many pairs a headline estimate (size and connections) pools, of each trial."""
        return self.rounds * len(self.concurrencies)

    def _is_elsewhere(self, cell: Cell) -> bool:
        return (
            cell.placement in self.elsewhere
            and cell.concurrency == self.elsewhere_concurrency
            and cell.size == self.sizes[-1]
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The blocks in the order in which they run: size after size."""

    seed: int
    design: Design
    blocks: tuple[Block, ...]

    def of_size(self, size: int) -> tuple[Block, ...]:
        """Return the blocks of one size, in order."""
        return tuple(block for block in self.blocks if block.cell.size == size)


def make_plan(design: Design, seed: int) -> Plan:
    """Draw the order of everything."""
    coin = random.Random(seed)  # noqa: S311  # it must repeat; nothing secret hangs on it
    ordered = [
        (cell, trial, _legs(trial.comparison, coin))
        for size in design.sizes
        for _ in range(design.rounds)
        for cell in _shuffled(_round(design, size), coin)
        for trial in _shuffled(design.trials_in(cell), coin)
    ]
    blocks = (Block(number, *parts) for number, parts in enumerate(ordered, start=1))
    return Plan(seed=seed, design=design, blocks=tuple(blocks))


def _round(design: Design, size: int) -> Iterator[Cell]:
    for cell in design.cells(size):
        yield from (cell for _ in range(design.visits(cell)))


def _legs(comparison: Comparison, coin: random.Random) -> tuple[Leg, Leg]:
    test, reference = Leg(comparison.test_arm, Role.TEST), Leg(Arm.OFF, Role.REFERENCE)
    return (test, reference) if coin.random() < 0.5 else (reference, test)  # noqa: PLR2004


def _shuffled(items: Iterable[T], coin: random.Random) -> list[T]:
    drawn = list(items)
    coin.shuffle(drawn)
    return drawn
