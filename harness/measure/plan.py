"""The plan of a run: which equal pieces of work are done in which order, drawn by a seeded coin.

A *cell* is a condition (size, placement, connections, concurrency). A *block* is a pair of legs
in one cell, close in time: an arm and ``off`` (the effect), or ``off`` and ``off`` (the A/A
control, of the same length). The coin draws which leg is first, the order of the two kinds of
block in each cell, and the order of the cells in each round. The same seed gives the same plan.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from harness.load.ab import Connections

T = TypeVar("T")


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
        """Where it is measured: through the Service, unless that cannot work without tracking."""
        return Placement.POD if self is Comparison.BARE else Placement.SERVICE


class Role(enum.Enum):
    """Which leg is above the line of the ratio."""

    TEST = "test"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition of measurement; ``size`` is pods per interfering service."""

    size: int
    placement: Placement
    connections: Connections
    concurrency: int

    def __str__(self) -> str:
        """Return a name that is also good for a file."""
        parts = (f"s{self.size}", self.placement.value, self.connections.value)
        return "-".join((*parts, f"c{self.concurrency}"))


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
    comparison: Comparison
    legs: tuple[Leg, Leg]


@dataclass(frozen=True, slots=True)
class Design:
    """What a run varies. Its blocks are ``rounds`` times every cell and comparison."""

    sizes: tuple[int, ...] = (2, 6, 8)
    concurrencies: tuple[int, ...] = (1, 4, 16, 64, 256)
    connections: tuple[Connections, ...] = (Connections.NEW, Connections.KEPT)
    comparisons: tuple[Comparison, ...] = (Comparison.EFFECT, Comparison.CONTROL)
    rounds: int = 6
    leg_seconds: float = 0.4
    """How long a leg should take; the pilot turns it into a number of requests."""

    @property
    def placements(self) -> tuple[Placement, ...]:
        """The placements that the comparisons need."""
        return tuple(dict.fromkeys(each.placement for each in self.comparisons))

    def comparisons_in(self, cell: Cell) -> tuple[Comparison, ...]:
        """Return what is compared in a cell."""
        return tuple(each for each in self.comparisons if each.placement is cell.placement)

    def cells(self, size: int) -> Iterator[Cell]:
        """Yield the cells of one size."""
        for placement in self.placements:
            for connections in self.connections:
                for concurrency in self.concurrencies:
                    yield Cell(size, placement, connections, concurrency)

    @property
    def blocks_per_round(self) -> int:
        """How many blocks one round of one size has."""
        return len(self.connections) * len(self.concurrencies) * len(self.comparisons)

    @property
    def pairs_per_estimate(self) -> int:
        """How many pairs a headline estimate (size and connections) pools, of each comparison."""
        return self.rounds * len(self.concurrencies)


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
        (cell, comparison, _legs(comparison, coin))
        for size in design.sizes
        for _ in range(design.rounds)
        for cell in _shuffled(design.cells(size), coin)
        for comparison in _shuffled(design.comparisons_in(cell), coin)
    ]
    blocks = (Block(number, *parts) for number, parts in enumerate(ordered, start=1))
    return Plan(seed=seed, design=design, blocks=tuple(blocks))


def _legs(comparison: Comparison, coin: random.Random) -> tuple[Leg, Leg]:
    test, reference = Leg(comparison.test_arm, Role.TEST), Leg(Arm.OFF, Role.REFERENCE)
    return (test, reference) if coin.random() < 0.5 else (reference, test)  # noqa: PLR2004


def _shuffled(items: Iterable[T], coin: random.Random) -> list[T]:
    drawn = list(items)
    coin.shuffle(drawn)
    return drawn
