"""Counting a run's cells by what is told of them: half a million, and none is put together.

Pictures, reports and the count of pairs ask how many cells of a step are alike. A layout's
connections are numbered by what they have in common once; then a step is a few strings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.clusters.base import Verdict
from harness.matrix.axes import AddressKind, Family, Isolation, Placement, Protocol, State
from harness.matrix.compare import FINE, Mark
from harness.matrix.record import CellView, Columns, Connection, MatrixRecord, StepRecord, members


@dataclass(frozen=True, slots=True)
class Seen:
    """What cells have in common that are counted together."""

    state: State
    placement: Placement
    address: AddressKind
    protocol: Protocol
    family: Family
    direction: Isolation
    observed: Verdict
    mark: Mark

    @property
    def right(self) -> bool:
        """Whether everything was as expected, or as declared."""
        return self.mark in FINE


def seen_of(state: State, view: CellView) -> Seen:
    """Say what one cell is counted as."""
    its = view.connection
    kind = its.placement, its.address, its.protocol, its.family
    return Seen(state, *kind, view.direction, view.observed, view.mark)


_Kind = tuple[State, Placement, AddressKind, Protocol, Family]
_DIRECTIONS, _VERDICTS, _MARKS = members(Isolation), members(Verdict), members(Mark)


class Tally:
    """Counts the cells of a run's steps."""

    def __init__(self, record: MatrixRecord) -> None:
        """Count nothing yet."""
        self.record = record
        self._numbers: dict[_Kind, int] = {}
        self._layouts: dict[tuple[int, State, tuple[str, ...]], list[int]] = {}

    def of(self, step: StepRecord) -> Counter[Seen]:
        """Count every cell of a step, held connections among them."""
        counted: Counter[Seen] = Counter()
        for columns, kinds in self._looks(step):
            letters = zip(kinds, columns.direction, columns.observed, columns.marks, strict=True)
            known = list(self._numbers)
            for (number, direction, observed, mark), count in Counter(letters).items():
                told = _DIRECTIONS[direction], _VERDICTS[observed], _MARKS[mark]
                counted[Seen(*known[number], *told)] += count
        return counted

    def _looks(self, step: StepRecord) -> Iterator[tuple[Columns, list[int]]]:
        yield step.cells, self._kinds(step.cells.layout, step.state, step.started)
        if step.established:
            yield step.established, self._kinds(step.established.layout, State.ESTABLISHED, ())

    def _kinds(self, layout: int, state: State, started: tuple[str, ...]) -> list[int]:
        """Return of each connection of a layout the number of its kind."""
        key = layout, state, started
        if key not in self._layouts:
            kinds = (self._kind(one, state, started) for one in self.record.layouts[layout])
            self._layouts[key] = [self._numbers.setdefault(k, len(self._numbers)) for k in kinds]
        return self._layouts[key]

    def _kind(self, one: Connection, state: State, started: tuple[str, ...]) -> _Kind:
        ends = self.record.ends
        its = state.between(started, ends[one.client].name, ends[one.server].name)
        return its, one.placement, one.address, one.protocol, one.family
