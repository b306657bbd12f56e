"""What a run of windows stores: ``windows.json``, and the table of its distributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.measure.windows.arithmetic import Change, Void, Window, quantile
from harness.prober.stream import Flow

FILE = "windows.json"
SCHEMA = 1
"""Raised whenever a stored field changes its meaning."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change as one flow saw it, or why it does not count."""

    change: str
    flow: Flow
    times: Change
    found: Window | Void


@dataclass(frozen=True, slots=True)
class Series:
    """The events of one kind, as one flow saw them."""

    change: str
    flow: Flow
    windows: tuple[Window, ...] = ()
    voids: Counter[Void] = field(default_factory=Counter)

    @classmethod
    def of(cls, change: str, flow: Flow, events: Sequence[Window | Void]) -> Series:
        """Sort events into those that count and those that do not."""
        counted = tuple(one for one in events if isinstance(one, Window))
        return cls(change, flow, counted, Counter(one for one in events if isinstance(one, Void)))

    @classmethod
    def sort(cls, events: Iterable[Event]) -> list[Series]:
        """Return a series for each kind of change and flow, in the order of their first events."""
        kinds: dict[tuple[str, Flow], list[Window | Void]] = {}
        for event in events:
            kinds.setdefault((event.change, event.flow), []).append(event.found)
        return [cls.of(change, flow, found) for (change, flow), found in kinds.items()]

    def milliseconds(self) -> list[float]:
        """Return the windows' length: to the first right answer, so never too short."""
        return [1000 * max(0.0, one.first_right) for one in self.windows]

    def stored(self) -> dict[str, Any]:
        """Return it as it is stored; times in seconds."""
        return {
            "change": self.change,
            "flow": self.flow.value,
            "windows": [
                {"last_wrong": round(one.last_wrong, 6), "first_right": round(one.first_right, 6)}
                for one in self.windows
            ],
            "void": {void.value: count for void, count in self.voids.items()},
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Series:
        """Read what was stored."""
        windows = tuple(Window(one["last_wrong"], one["first_right"]) for one in stored["windows"])
        voids = Counter({Void(void): count for void, count in stored["void"].items()})
        return cls(stored["change"], Flow(stored["flow"]), windows, voids)


@dataclass(frozen=True, slots=True)
class Never:
    """Events during which nothing may be wrong: how many there were, and every wrong answer.

    ``latest`` is the longest time from an event to a wrong answer, in seconds; 0 without any.
    """

    change: str
    flow: Flow
    events: int
    answers: int
    wrong: int
    latest: float

    def stored(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {**asdict(self), "flow": self.flow.value}

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Never:
        """Read what was stored."""
        return cls(**stored | {"flow": Flow(stored["flow"])})


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has found. The floor is a series like any other."""

    series: tuple[Series, ...]
    never: tuple[Never, ...]

    def stored(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {
            "schema": SCHEMA,
            "series": [one.stored() for one in self.series],
            "never": [one.stored() for one in self.never],
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Found:
        """Read what was stored."""
        series = tuple(Series.load(one) for one in stored["series"])
        return cls(series, tuple(Never.load(one) for one in stored["never"]))


def never_table(never: Sequence[Never]) -> Iterator[str]:
    """Yield the lines of the table of what may never be wrong."""
    yield "| Event | Connections | Events | Answers | Wrong | The latest after |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in never:
        latest = f"{1000 * one.latest:.0f} ms" if one.wrong else "-"
        row = [one.change, one.flow.value, str(one.events), str(one.answers), str(one.wrong)]
        yield f"| {' | '.join([*row, latest])} |"


def table(series: Sequence[Series]) -> Iterator[str]:
    """Yield the lines of the table: milliseconds from acknowledgement to the first right answer."""
    yield "| Change | Connections | Events | Median | 90 % | Longest | Resolution | Not counted |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in series:
        found = one.milliseconds()
        cells = [f"{quantile(found, share):.1f}" for share in (0.5, 0.9, 1.0)]
        resolution = quantile([1000 * w.resolution for w in one.windows], 0.5)
        void = "; ".join(f"{count}: {void.value}" for void, count in one.voids.items()) or "-"
        row = [one.change, one.flow.value, str(len(found)), *cells, f"{resolution:.1f}", void]
        yield f"| {' | '.join(row)} |"
