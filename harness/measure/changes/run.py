"""The recipe: at each size, daemons start, are idle, and follow changes, with and without churn."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from harness.clusters.base import Cluster
from harness.enforcers.base import Enforcer
from harness.measure import environment, site
from harness.measure.changes import record
from harness.measure.changes.churn import Churn
from harness.measure.changes.record import EventRow, Load, ResourceRow, Setting
from harness.measure.changes.resources import Meter, Phase
from harness.measure.changes.resume import NOTHING, Earlier, mend
from harness.measure.clients import OUTSIDE
from harness.measure.progress import Narrator
from harness.measure.windows import changes
from harness.measure.windows.api import watching
from harness.measure.windows.arithmetic import first_reached, last_passed
from harness.measure.windows.instrument import EVENTS, Instrument
from harness.measure.windows.record import Event
from harness.measure.windows.starting import Starter
from harness.measure.windows.tape import RATE
from harness.prober.stream import Flow
from harness.requirements import available_bytes
from harness.results import RunFolder
from harness.workload import study as workload

STARTED_FLOOR = "pod started, nothing enforced (floor)"
STARTED_REACHED = "pod started, reached"
STARTED_DENIED = "pod started, others denied"

READY_SECONDS = 600.0
"""How long the daemons of a hundred nodes may take to start on two cores."""

DAEMON_BYTES = 70 * 2**20
"""Memory that a daemon is reckoned to take, when it is asked on how many nodes it may run.

Not its resident set, of which one node's daemon shares 15 MiB with the next one's: that of the
bundled one is 78 MiB at 8,000 pods.
"""

KEPT_FREE_BYTES = 3 * 2**30
"""Memory that stays free on the machine."""


_LOAD_SECONDS = 1.0
"""For how long the load of others is looked at, before each size, while nothing of ours acts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a run."""

    sizes: tuple[int, ...]
    services: int
    events: int = EVENTS
    idle_seconds: float = 15.0
    earlier: Earlier = NOTHING
    """What a run that was cut off had come to, where this goes on with it."""


@dataclass(slots=True)
class Bench:
    """A cluster with the study's workload, and an enforcer that is not installed yet."""

    plan: Plan
    cluster: Cluster
    enforcer: Enforcer
    folder: RunFolder
    narrator: Narrator
    started: float
    crowd: workload.Crowd
    churn: Churn
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _sizes: list[dict[str, object]] = field(default_factory=list)

    @classmethod
    def on(cls, plan: Plan, cluster: Cluster, enforcer: Enforcer, to: Where) -> Bench:
        """Deploy what is there at every size: the study's policy, a server and its clients."""
        cast, _ = site.settle(cluster, plan.services, OUTSIDE)
        crowd = cast.crowd
        cluster.apply(changes.workload(crowd.nodes[0], crowd.nodes[-1]))
        churn, started = Churn(cluster, crowd), time.monotonic() - plan.earlier.at
        bench = cls(plan, cluster, enforcer, to.folder, to.narrator, started, crowd, churn)
        bench._sizes.extend(map(dict, plan.earlier.sizes))  # its own
        return bench

    def grow(self, have: int, want: int) -> None:
        """Grow the crowd; return when all is Ready."""
        site.grow(self.cluster, self.crowd, have, want, self.narrator)
        self.churn.grown(have, want)
        self.cluster.wait_ready(timeout=READY_SECONDS)

    def measure(self, size: int) -> None:
        """Measure everything at one size, the daemons started anew."""
        nodes, why = affordable(self.crowd.nodes)
        pods = self.crowd.pods(size) + workload.TEST_PODS
        quiet = Setting(size, pods, len(nodes), Load.QUIET)
        others = environment.load(_LOAD_SECONDS)
        self.narrator.say(
            f"{pods} pods; {self.enforcer.name} on {why}; others use {others:.0%} of the CPUs"
        )
        self._keep(quiet, self._starts(STARTED_FLOOR))
        meter = Meter.of(self.cluster, self.enforcer)
        try:
            with meter.phase(Phase.START):
                self.enforcer.install(self.cluster, self.folder.folder("logs"), nodes)
                self.enforcer.wait_ready(READY_SECONDS)
            meter.idle(self.plan.idle_seconds)
            with meter.phase(Phase.CHANGES):
                self._events(quiet)
            churned = Setting(size, pods, len(nodes), Load.CHURN)
            with self.churn.going_on() as turnover, meter.phase(Phase.CHURN):
                self._events(churned)
        finally:
            rows = (ResourceRow.of(quiet, taken) for taken in meter.taken)
            record.append(self.folder.path / record.RESOURCES, rows)
            self.enforcer.uninstall()
        self.cluster.wait_ready(timeout=READY_SECONDS)
        self.narrator.say(f"churn: {turnover.rate:.1f} pods a second replaced")
        self._sizes.append(
            {
                "size": size,
                "pods": pods,
                "daemons": why,
                "replaced_per_second": turnover.rate,
                "others_load": others,
            }
        )
        self.note()

    def note(self) -> None:
        """Store what no row has."""
        facts = {
            "format": record.FORMAT,
            "enforcer": {**self.enforcer.describe()},
            "nodes": len(self.crowd.nodes),
            "services": self.plan.services,
            "events": self.plan.events,
            "probes_per_second": RATE,
            "idle_seconds": self.plan.idle_seconds,
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "sizes": self._sizes,
        }
        self.folder.write_json(record.NOTES, facts)

    def _events(self, setting: Setting) -> None:
        """Measure every kind of change."""
        logs = self.folder.folder(f"logs/probes-{setting.size}-{setting.load.value}")
        instrument = Instrument(self.cluster, logs, self.plan.events)
        kinds: tuple[Callable[[], Iterable[Event]], ...] = (
            instrument.floor,
            lambda: instrument.toggled(changes.denying()),
            lambda: instrument.toggled(changes.allowing()),
            lambda: self._admitted(instrument),
        )
        stage = f"{self.plan.events} events a kind, {setting.load.value}"
        with self.narrator.stage(stage, len(kinds)) as progress:
            for kind in kinds:
                self._keep(setting, kind())
                progress.advance()

    def _keep(self, setting: Setting, events: Iterable[Event]) -> None:
        rows = [EventRow.of(setting, event, self.started) for event in events]
        record.append(self.folder.path / record.EVENTS, rows)

    def _admitted(self, instrument: Instrument) -> Iterator[Event]:
        """Start pods that a policy selects: it lets one client in, and the other not."""
        with instrument.policies([changes.admitting()]):
            yield from self._starts(STARTED_REACHED, STARTED_DENIED)

    def _starts(self, reached: str, denied: str = "") -> Iterator[Event]:
        with watching(self.cluster, changes.SPACE) as seen:
            other = changes.OTHER if denied else None
            node = self.crowd.nodes[0]
            starter = Starter(self.cluster, seen, node, changes.CLIENT, other)
            for _ in range(self.plan.events):
                found = starter.start(next(self._numbers))
                opened = first_reached(found.reached, found.addressed)
                yield Event(reached, Flow.NEW, found.change(opens=True), opened)
                if denied:
                    closed = last_passed(found.passed, found.addressed, opened)
                    yield Event(denied, Flow.NEW, found.change(opens=False), closed)


@dataclass(frozen=True, slots=True)
class Where:
    """Where what is found goes: a run's folder, and a person."""

    folder: RunFolder
    narrator: Narrator


def run(plan: Plan, cluster: Cluster, enforcer: Enforcer, to: Where) -> None:
    """Do it all; whatever ends it early, what was measured until then is stored."""
    to.narrator.say(f"bringing up the {cluster.kind} cluster")
    mend(to.folder, plan.earlier)
    with cluster:
        bench = Bench.on(plan, cluster, enforcer, to)
        bench.note()
        have = 0
        for size in (each for each in plan.sizes if each not in plan.earlier.done):
            bench.grow(have, size)
            bench.measure(size)
            have = size
        to.narrator.say("taking the cluster down")


def affordable(nodes: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return the nodes on which a daemon fits into memory now, and that in words.

    All of them, or the first alone: the measured server is there.
    """
    need = len(nodes) * DAEMON_BYTES + KEPT_FREE_BYTES
    there = available_bytes()
    if there >= need:
        return nodes, f"all {len(nodes)} nodes"
    return nodes[:1], (
        f"1 of {len(nodes)} nodes, that of the server: the others' daemons would need "
        f"{(need - there) / 2**30:.1f} GiB more memory"
    )
