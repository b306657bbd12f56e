"""The instrument: streams of probes, changes while they go on, and an event made of each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Cluster, Manifest, PodRef
from harness.errors import ClusterError
from harness.measure.windows import changes
from harness.measure.windows.api import address_of
from harness.measure.windows.arithmetic import Answer, Change, Void, Window, floor, window
from harness.measure.windows.changes import Toggle
from harness.measure.windows.record import Event
from harness.measure.windows.tape import Tape
from harness.prober.stream import Flow

EVENTS = 20
"""Events of each kind."""

FLOOR = "nothing altered (floor)"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A cluster with the server and its clients; ``logs`` takes what the streams write."""

    cluster: Cluster
    logs: Path
    events: int = EVENTS

    @contextlib.contextmanager
    def tapes(self, name: str, client: PodRef) -> Iterator[dict[Flow, Tape]]:
        """Probe from a client to the server, by every flow, while this is entered."""
        target = f"{address_of(self.cluster, changes.SERVER)} {changes.PORT}"
        tapes = {
            flow: Tape.start(
                self.cluster, client, flow, target, self.logs / f"{name}-{flow.value}.txt"
            )
            for flow in Flow
        }
        try:
            yield tapes
        finally:
            for tape in tapes.values():
                tape.process.stop()

    @contextlib.contextmanager
    def policies(self, policies: Sequence[Manifest]) -> Iterator[None]:
        """Have policies stand while this is entered."""
        self.cluster.apply(policies)
        try:
            yield
        finally:
            self.cluster.delete(policies)

    def toggled(self, toggle: Toggle) -> Iterator[Event]:
        """Switch there and back, and there again; yield the events of both ways."""
        name = toggle.opens.replace(" ", "-").replace("→", "to").replace(",", "")
        done: list[Change] = []
        with self.policies(toggle.around), self.tapes(name, toggle.client) as tapes:
            toggle.close(self.cluster)
            begun = time.monotonic()
            for tape in tapes.values():
                tape.settles(begun, is_open=False)
            for _ in range(self.events):
                for opens, act in ((True, toggle.open), (False, toggle.close)):
                    change = _timed(opens, lambda act=act: act(self.cluster))  # type: ignore[misc]
                    for tape in tapes.values():
                        tape.settles(change.acknowledged, is_open=opens)
                    done.append(change)
            toggle.open(self.cluster)
            answers = {flow: tape.sorted() for flow, tape in tapes.items()}
        self.cluster.delete(toggle.left)
        for flow, found in answers.items():
            for change, then in zip(done, [*done[1:], None], strict=True):
                label = toggle.opens if change.opens else toggle.closes
                yield Event(label, flow, change, _judged(found, change, then))

    def floor(self) -> Iterator[Event]:
        """Yield what is found of changes that alter nothing."""
        done: list[Change] = []
        with self.tapes("floor", changes.CLIENT) as tapes:
            begun = time.monotonic()
            for tape in tapes.values():
                if not tape.settles(begun, is_open=True):
                    raise ClusterError("the client does not reach the server without a policy")
            for number in range(self.events):
                act = changes.irrelevant(number)
                done.append(_timed(True, lambda act=act: self.cluster.apply([act])))  # type: ignore[misc]  # noqa: FBT003  # it stays open
                for tape in tapes.values():
                    tape.settles(done[-1].acknowledged, is_open=True)
            answers = {flow: tape.sorted() for flow, tape in tapes.items()}
        for flow, found in answers.items():
            for change in done:
                yield Event(FLOOR, flow, change, floor(found, change))


def _timed(opens: bool, act: Callable[[], None]) -> Change:  # noqa: FBT001  # as in Change
    asked = time.monotonic()
    act()
    return Change(opens, asked, time.monotonic())


def _judged(answers: Sequence[Answer], change: Change, following: Change | None) -> Window | Void:
    end = following.asked if following else float("inf")
    around = [one for one in answers if change.asked - 1 < one.at < end]
    return window(around, change)
