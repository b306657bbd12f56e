"""What a run stores in ``matrix.json``: every probe with its axes, its verdict and its reason.

Table, pictures and reports are made from this alone, so a stored run can be drawn again. A large
run has half a million probes, so they are stored by columns: a *layout* lists connections, and a
step has one letter for each of them in each column. :meth:`MatrixRecord.views` puts them together
again. The schema is published as ``docs/matrix.schema.json``.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from harness.clusters.base import Verdict
from harness.matrix.axes import AddressKind, Family, Isolation, Placement, Protocol, State
from harness.matrix.compare import FINE, Mark
from harness.matrix.model import Expected, StudyResult

SCHEMA = 2
"""Raised whenever a stored field changes its meaning."""

_LETTERS: Mapping[type[Enum], Mapping[Enum, str]] = {
    Expected: {Expected.OPEN: "o", Expected.DENIED: "d"},
    Verdict: {
        Verdict.OPEN: "o",
        Verdict.DROPPED: "d",
        Verdict.REJECTED: "r",
        Verdict.REFUSED: "f",
        Verdict.UNREACHABLE: "u",
        Verdict.ERROR: "e",
        Verdict.RESET: "s",
    },
    Mark: {
        Mark.RIGHT: ".",
        Mark.LEAKED: "L",
        Mark.BLOCKED: "B",
        Mark.UNCLEAR: "?",
        Mark.UNPROVED: "u",
        Mark.MANNER: "m",
        Mark.KNOWN: "k",
    },
    Isolation: {
        Isolation.NONE: "-",
        Isolation.INGRESS: "i",
        Isolation.EGRESS: "e",
        Isolation.BOTH: "b",
        Isolation.EGRESS_ONLY_ALLOWS: "x",
        Isolation.INGRESS_ONLY_ALLOWS: "y",
    },
}
"""The letters of the columns ``expected``, ``observed``, ``marks`` and ``direction``."""


def letters(values: Iterable[Enum]) -> str:
    """Write a column."""
    return "".join(_LETTERS[type(one)][one] for one in values)


def members(kind: type[Enum]) -> dict[str, Any]:
    """Return what the letters of a column stand for."""
    return {letter: member for member, letter in _LETTERS[kind].items()}


class Connection(msgspec.Struct, frozen=True, array_like=True):
    """A connection of a layout. ``client`` and ``server`` are numbers of the run's ends."""

    client: int
    server: int
    address: AddressKind
    placement: Placement
    protocol: Protocol
    port: int
    target: str

    @property
    def family(self) -> Family:
        """Return the family of the address."""
        return Family.IPV6 if self.target.startswith("[") else Family.IPV4


class ReasonRecord(msgspec.Struct, frozen=True):
    """What decides, according to the oracle, and the hand-written sentence where there is one."""

    sentence: str
    because: str
    policies: tuple[str, ...]
    rule: int | None


class Columns(msgspec.Struct, frozen=True):
    """The cells of one look, in the order of a layout.

    ``reasons`` are numbers of the run's reasons. ``stories``, ``details`` and ``seconds`` are there
    for the cells that have one, by their number: what was seen before (seconds since the change,
    verdict), what exactly was seen, and how long it took.
    """

    layout: int
    expected: str
    observed: str
    marks: str
    direction: str
    reasons: tuple[int, ...]
    stories: dict[int, tuple[tuple[float, Verdict], ...]] = {}
    details: dict[int, str] = {}
    slowest: float = 0.0


class RefusalRecord(msgspec.Struct, frozen=True):
    """A manifest that the API had to refuse; ``said`` is None where it took it."""

    name: str
    said: str | None


class StepRecord(msgspec.Struct, frozen=True):
    """A step of a case in one environment: seconds since the API acknowledged it.

    ``settled`` is None where the matrix never was as expected; ``wait`` is the silence that counted
    as dropped, ``look`` how long the last look at everything took. ``due`` is how many cells had to
    change. ``established`` are connections that were opened before the step; ``started`` the pods
    that have only just started: with these alone a connection is one at pod start. The step
    numbered 0 is the matrix after everything was taken back, stored where something lingered.
    """

    case: str
    environment: str
    number: int
    state: State
    settled: float | None
    wait: float
    cells: Columns
    established: Columns | None = None
    refusals: tuple[RefusalRecord, ...] = ()
    disagreements: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    due: int = 0
    look: float = 0.0
    started: tuple[str, ...] = ()


class StepText(msgspec.Struct, frozen=True):
    """What a step does, in words, and its policies as kubectl takes them."""

    words: str
    policies: str


class CaseRecord(msgspec.Struct, frozen=True):
    """A case, or a row of the study's table that takes cells out of other cases' rows."""

    id: str
    group: str
    rule: str
    source: str = ""
    study: StudyResult | None = None
    steps: tuple[StepText, ...] = ()
    taken_from: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()


class EndRecord(msgspec.Struct, frozen=True):
    """A client or server, and its node (empty outside)."""

    name: str
    node: str


class EnvironmentRecord(msgspec.Struct, frozen=True):
    """A cluster that the run had, or would have had: ``not_run`` says why it had not."""

    wiring: str
    proxy: str
    family: str
    settings: dict[str, Any] = {}
    spent: dict[str, float] = {}
    not_run: str = ""


class NotRun(msgspec.Struct, frozen=True):
    """A value of an axis that could not be had, and why."""

    axis: str
    value: str
    reason: str


class GroupRecord(msgspec.Struct, frozen=True):
    """A file of cases."""

    name: str
    title: str


class Coverage(msgspec.Struct, frozen=True):
    """Pairs of values of two axes: how many there are, met, impossible, and left, with why.

    ``cannot`` says of each impossible pair why no connection has both values. ``states`` has for
    each state and wiring at how many placements it was probed.
    """

    pairs: int = 0
    met: int = 0
    impossible: int = 0
    left: dict[str, str] = {}
    words: str = ""
    cannot: dict[str, str] = {}
    states: dict[str, dict[str, int]] = {}


class MatrixRecord(msgspec.Struct, frozen=True):
    """A whole run."""

    schema: int
    enforcer: dict[str, Any]
    profile: dict[str, Any]
    environments: dict[str, EnvironmentRecord]
    groups: tuple[GroupRecord, ...]
    cases: tuple[CaseRecord, ...]
    ends: tuple[EndRecord, ...]
    layouts: tuple[tuple[Connection, ...], ...]
    reasons: tuple[ReasonRecord, ...]
    steps: tuple[StepRecord, ...]
    not_run: tuple[NotRun, ...] = ()
    planned: dict[str, tuple[str, ...]] = {}
    """The cases that were to run in each environment."""
    gone_deviations: tuple[str, ...] = ()
    """Declared deviations that did not happen although their cells were run."""
    coverage: Coverage = Coverage()
    seconds: float = 0.0

    def case(self, identity: str) -> CaseRecord:
        """Find a case."""
        return next(one for one in self.cases if one.id == identity)

    def missing(self) -> tuple[tuple[str, str], ...]:
        """Return the case and environment of each run that was planned and not reached."""
        ran = {(one.case, one.environment) for one in self.steps}
        planned = ((case, name) for name, cases in self.planned.items() for case in cases)
        return tuple(key for key in planned if key not in ran)

    def steps_of(self, case: str, environment: str) -> list[StepRecord]:
        """Return a case's steps in an environment; none where it was not run."""
        return [one for one in self.steps if (one.case, one.environment) == (case, environment)]

    def views(self, columns: Columns) -> Iterator[CellView]:
        """Return the cells of a look, each put together."""
        layout = self.layouts[columns.layout]
        expected, observed = members(Expected), members(Verdict)
        marks, isolation = members(Mark), members(Isolation)
        for at, connection in enumerate(layout):
            yield CellView(
                at,
                connection,
                self.ends[connection.client].name,
                self.ends[connection.server].name,
                expected[columns.expected[at]],
                observed[columns.observed[at]],
                marks[columns.marks[at]],
                isolation[columns.direction[at]],
                self.reasons[columns.reasons[at]],
                columns.stories.get(at, ()),
                columns.details.get(at, ""),
            )

    def all_views(self, step: StepRecord) -> Iterator[tuple[State, CellView]]:
        """Return every cell of a step with its state, held connections among them."""
        for view in self.views(step.cells):
            yield step.state.between(step.started, view.client, view.server), view
        if step.established:
            for view in self.views(step.established):
                yield State.ESTABLISHED, view


@dataclass(frozen=True, slots=True)
class CellView:
    """A stored cell, put together from its columns."""

    number: int
    connection: Connection
    client: str
    server: str
    expected: Expected
    observed: Verdict
    mark: Mark
    direction: Isolation
    reason: ReasonRecord
    story: tuple[tuple[float, Verdict], ...]
    detail: str

    @property
    def right(self) -> bool:
        """Whether everything was as expected, or as declared."""
        return self.mark in FINE

    @property
    def placement(self) -> Placement:
        """Where client and server are to each other."""
        return self.connection.placement

    @property
    def kind(self) -> AddressKind:
        """By which address of the server the client came."""
        return self.connection.address

    @property
    def port(self) -> int:
        """Return the server's port."""
        return self.connection.port

    @property
    def protocol(self) -> Protocol:
        """Return what it spoke."""
        return self.connection.protocol

    @property
    def family(self) -> Family:
        """Return the family of the address."""
        return self.connection.family


def to_text(record: MatrixRecord) -> str:
    """Write a run as JSON, one entry of each list a line: a file that grep and diff can read."""
    return "".join(_lines(record))


_LISTS = ("cases", "ends", "layouts", "reasons", "steps")


def _lines(record: MatrixRecord) -> Iterator[str]:
    head: dict[str, Any] = msgspec.to_builtins(record, str_keys=True)
    lists = {name: head.pop(name) for name in _LISTS}
    yield msgspec.json.format(msgspec.json.encode(head), indent=1).decode()[:-2]
    for name, entries in lists.items():
        lines = ",\n".join(msgspec.json.encode(one).decode() for one in entries)
        yield f',\n "{name}": [\n{lines}\n]'
    yield "\n}\n"


def load_record(path: Path) -> MatrixRecord:
    """Read a stored run; its schema must be ours."""
    content = path.read_bytes()
    schema = msgspec.json.decode(content, type=_Head).schema
    if schema != SCHEMA:
        message = f"{path}: a matrix of schema {schema}; this harness reads {SCHEMA}"
        raise ValueError(message)
    return msgspec.json.decode(content, type=MatrixRecord)


class _Head(msgspec.Struct):
    schema: int


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``matrix.json``, which is published with the documentation."""
    schema = msgspec.json.schema(MatrixRecord)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"matrix.json of harness functional, schema {SCHEMA}"
    columns = ((kind.__name__, table) for kind, table in _LETTERS.items())
    schema["description"] = "Letters of the columns. " + "; ".join(
        f"{name}: " + ", ".join(f"{letter} {one.value}" for one, letter in table.items())
        for name, table in columns
    )
    # Python 3.13 takes the indentation from docstrings, which are the descriptions; 3.11 leaves it.
    for kind in schema["$defs"].values():
        if "description" in kind:
            kind["description"] = inspect.cleandoc(kind["description"])
    return typing.cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(schema)))
