"""The run of windows on a cluster: changes, restarts and starts, at its own small size."""

from __future__ import annotations

import bisect
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.enforcers.daemonset import DaemonSet
from harness.errors import ClusterError
from harness.measure.windows import changes
from harness.measure.windows.api import watching
from harness.measure.windows.arithmetic import Answer, Change, wrong
from harness.measure.windows.instrument import EVENTS, Instrument
from harness.measure.windows.record import Found, Never, Series
from harness.measure.windows.starting import Starter
from harness.prober.stream import Flow

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bench:
    """A cluster with the server, its clients and an enforcer."""

    cluster: Cluster
    enforcer: Enforcer
    logs: Path
    events: int = EVENTS
    say: Say = lambda _: None

    @property
    def _instrument(self) -> Instrument:
        return Instrument(self.cluster, self.logs, self.events)

    def run(self) -> Found:
        """Deploy, install, and try every kind of change."""
        nodes = [node.name for node in self.cluster.nodes()]
        self.cluster.apply(changes.workload(nodes[0], nodes[-1]))
        self.cluster.wait_ready()
        series: list[Series] = []
        never: list[Never] = []
        with self._enforced():
            for toggle in changes.toggles():
                self.say(f"{toggle.closes}, {toggle.opens}: {self.events} events each")
                series += Series.sort(self._instrument.toggled(toggle))
            self.say(f"{self.events} changes that alter nothing: the floor")
            series += Series.sort(self._instrument.floor())
            self.say(f"{self.events} restarts, and as many pods that start")
            never += [*self._restarted(is_open=False), *self._restarted(is_open=True)]
            never += self._started(nodes[0])
        return Found(tuple(series), tuple(never))

    @contextlib.contextmanager
    def _enforced(self) -> Iterator[None]:
        try:
            self.enforcer.install(self.cluster, self.logs)
            self.enforcer.wait_ready()
            yield
        finally:
            self.enforcer.uninstall()

    def _restarted(self, *, is_open: bool) -> Iterator[Never]:
        if not isinstance(self.enforcer, DaemonSet):
            return
        label = f"killed and restarted, {'allowed' if is_open else 'denied'} all the while"
        policies = [] if is_open else [changes.deny()]
        name = f"restart-{'open' if is_open else 'denied'}"
        with (
            self._instrument.policies(policies),
            self._instrument.tapes(name, changes.CLIENT) as tapes,
        ):
            begun = time.monotonic()
            for tape in tapes.values():
                tape.settles(begun, is_open=is_open)
            crashes = []
            for _ in range(self.events):
                crashes.append(time.monotonic())
                self.enforcer.crash()
                self.enforcer.wait_ready()
            end = time.monotonic()
            for tape in tapes.values():
                tape.settles(end, is_open=is_open)
            for flow, tape in tapes.items():
                answers = [one for one in tape.sorted() if one.at >= crashes[0]]
                bad = wrong(answers, Change(is_open, crashes[0], end))
                since = (one.at - crashes[bisect.bisect(crashes, one.at) - 1] for one in bad)
                latest = max(since, default=0.0)
                yield Never(label, flow, self.events, len(answers), len(bad), latest)

    def _started(self, node: str) -> Iterator[Never]:
        answers: list[Answer] = []
        latest = 0.0
        with (
            self._instrument.policies([changes.deny()]),
            watching(self.cluster, changes.SPACE) as seen,
        ):
            starter = Starter(self.cluster, seen, node, denied=changes.CLIENT)
            for number in range(self.events):
                found = starter.start(number)
                if not found.passed:
                    raise ClusterError(f"a pod on {node} gets no address")
                latest = max([latest, *(one.at - found.asked for one in found.passed if one.open)])
                answers += found.passed
        bad = sum(one.open for one in answers)
        label = "pod started, denied from the first packet on"
        yield Never(label, Flow.NEW, self.events, len(answers), bad, latest)
