"""What the lab measures, as data: a cell is a set of rules on one or two nodes, and its loads."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SIZES = (20, 60, 80, 250)
"""Pods a node: the study's three, and more than a default kubelet takes."""

MANY = 8000
MAIN_SIZE = 80


class Kind(enum.Enum):
    """Whose rules are on the nodes."""

    NONE = "none"
    EMPTY = "an empty forward chain"
    ESTABLISHED = "ct state established,related accept"
    BUNDLED = "bundled"
    BUNDLED_FAST = "bundled, fast path"
    MODEL_LEGACY = "kube-router-0.2-model, iptables-legacy"
    MODEL_NFT = "kube-router-0.2-model, iptables-nft"
    DUMP_LEGACY = "dump, iptables-legacy"
    DUMP_NFT = "dump, iptables-nft"
    DUMP_RULESET = "dump, nft"

    @property
    def enforces(self) -> bool:
        """Whether a stranger is to be kept out."""
        return self in {Kind.BUNDLED, Kind.BUNDLED_FAST, Kind.MODEL_LEGACY, Kind.MODEL_NFT}

    @property
    def known(self) -> bool:
        """Whether we know whom its rules keep out: of somebody's dump nobody does."""
        return self not in {Kind.DUMP_LEGACY, Kind.DUMP_NFT, Kind.DUMP_RULESET}

    @property
    def sized(self) -> bool:
        """Whether its rules depend on the number of pods."""
        return self.enforces


@dataclass(frozen=True, slots=True)
class Cell:
    """Rules for ``pods`` pods a node, met at ``points`` enforcement points on the way."""

    kind: Kind
    pods: int = 0
    points: int = 1
    peers: bool = False
    """Whether the policy names every pod as a peer, too."""

    @property
    def name(self) -> str:
        """Unique within a run."""
        size = f", {self.pods} pods" if self.kind.sized else ""
        size += " and peers" if self.peers else ""
        return f"{self.kind.value}{size}" + (", two points" if self.points == 2 else "")  # noqa: PLR2004


def default_cells() -> tuple[Cell, ...]:
    """Return the cost table: one enforcement point, then two. A baseline stands before each."""
    return (*_one_point(), *_two_points())


def _one_point() -> Iterator[Cell]:
    yield from (Cell(kind) for kind in (Kind.NONE, Kind.EMPTY, Kind.ESTABLISHED))
    for size in SIZES:
        yield Cell(Kind.BUNDLED, size)
    yield Cell(Kind.BUNDLED_FAST, MAIN_SIZE)
    for kind in (Kind.BUNDLED, Kind.BUNDLED_FAST):
        for size in (MAIN_SIZE, MANY):
            yield Cell(kind, size, peers=True)
    for size in SIZES:
        yield Cell(Kind.MODEL_LEGACY, size)
        yield Cell(Kind.MODEL_NFT, size)


def _two_points() -> Iterator[Cell]:
    yield Cell(Kind.NONE, points=2)
    for kind in (Kind.BUNDLED, Kind.BUNDLED_FAST, Kind.MODEL_LEGACY, Kind.MODEL_NFT):
        yield Cell(kind, MAIN_SIZE, points=2)


def chosen(cells: Iterable[Cell], words: Iterable[str]) -> tuple[Cell, ...]:
    """Return the cells whose name has one of the words, and the baselines that they need."""
    wanted = tuple(words)
    cells = tuple(cells)
    found = [cell for cell in cells if not wanted or any(word in cell.name for word in wanted)]
    points = {cell.points for cell in found}
    bases = [cell for cell in cells if cell.kind is Kind.NONE and cell.points in points]
    return tuple(cell for cell in cells if cell in found or cell in bases)
