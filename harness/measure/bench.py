"""One block: two legs of equal work, each in its arm, judged by the voiding rules."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.clusters.base import Place
from harness.load import ab, limits
from harness.load.ab import Connections
from harness.measure import voiding
from harness.measure.blocks import Row
from harness.measure.environment import CpuTimes, cpu_times, cpus, load
from harness.measure.plan import Block, Cell, Leg, Placement, Role
from harness.measure.servers import Servers
from harness.measure.switch import Switch
from harness.results import RunFolder

START_SECONDS = 0.03
"""CPU time of a leg that is nobody's: what starting ab takes beside it, and the clock's steps."""

RAW = "raw"
"""Folder of ab's own outputs."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the load asks, and from where."""

    client: Place
    source: str
    urls: Mapping[Placement, str]
    nodes: tuple[str, ...]
    """The nodes that the measured path crosses: their conntrack tables are watched."""

    inside: Mapping[Placement, Place] = field(default_factory=dict)
    """The pods that load comes from, where it does not come from outside."""

    servers: Servers | None = None
    """What serves the load, where its CPU time can be told from that of others."""

    def place(self, cell: Cell) -> Place:
        """Return where the load of a cell comes from."""
        return self.inside.get(cell.placement, self.client)

    def work(self, cell: Cell, requests: int) -> ab.Work:
        """Return ab's task in a cell."""
        return ab.Work(
            url=self.urls[cell.placement],
            source="" if cell.placement in self.inside else self.source,
            requests=requests,
            concurrency=cell.concurrency,
            connections=cell.connections,
        )


@dataclass(frozen=True, slots=True)
class _Clocks:
    """CPU time so far: of the machine, of the enforcers' daemons, and of the servers if known."""

    machine: CpuTimes
    daemons: float
    servers: float | None


@dataclass(frozen=True, slots=True)
class _Spent:
    """CPU seconds of a leg, and who took them."""

    machine: CpuTimes
    daemons: float
    path: float
    """Of ab, the servers and the softirq threads; 0 where it is not known."""

    wall: float

    @property
    def others(self) -> float:
        """Share of the CPUs that neither the path nor the daemons used; 0 if it is not known."""
        if not self.path:
            return 0.0
        left = self.machine.busy - self.path - self.daemons - START_SECONDS
        return max(0.0, left) / (self.wall * cpus())

    @classmethod
    def between(cls, first: _Clocks, last: _Clocks, wall: float, generator: float) -> _Spent:
        """Return what was spent between two readings, ``generator`` seconds of it by ab."""
        path = 0.0
        if first.servers is not None and last.servers is not None:
            path = generator + last.servers - first.servers
        return cls(last.machine - first.machine, last.daemons - first.daemons, path, wall)


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs blocks and returns what they showed, in the form that is stored."""

    switch: Switch
    target: Target
    folder: RunFolder
    started: float
    """``time.monotonic()`` at the start of the measurement."""

    prefix: str = ""
    """Of the names of ab's outputs."""

    of_itself: float = 0.0
    """Share of the CPUs that the machine uses in this size of itself."""

    def run(self, block: Block, requests: int) -> tuple[Row, Row]:
        """Run both legs of a block."""
        rows = [
            self._leg(block, leg, position, requests)
            for position, leg in enumerate(block.legs, start=1)
        ]
        cluster = self.switch.cluster
        tables = [limits.conntrack(cluster, node) for node in self.target.nodes]
        ports = limits.ports(cluster, self.target.place(block.cell))
        reasons = voiding.block_reasons((rows[0].reason, rows[1].reason), (*tables, ports))
        first, second = (_voided(row, reason) for row, reason in zip(rows, reasons, strict=True))
        return first, second

    def _leg(self, block: Block, leg: Leg, position: int, requests: int) -> Row:
        self.switch.to(leg.arm, block.trial.enforcer)
        others = load(voiding.LOAD_SECONDS) if leg.role is Role.REFERENCE else 0.0
        work = self.target.work(block.cell, requests)
        at, before = time.monotonic(), self._clocks()
        done = ab.run(self.switch.cluster, self.target.place(block.cell), work)
        spent = _Spent.between(before, self._clocks(), time.monotonic() - at, done.cpu_seconds)
        report = done.report or _NOTHING
        observed = voiding.Observed(
            error=done.error,
            stolen_seconds=spent.machine.stolen,
            capacity_seconds=spent.wall * cpus(),
            load=others,
            during=spent.others,
            of_itself=self.of_itself,
            generator=done.user_seconds / spent.wall,
        )
        return Row(
            block=block.number,
            cell=str(block.cell),
            size=block.cell.size,
            placement=block.cell.placement,
            keepalive=block.cell.connections is Connections.KEPT,
            concurrency=block.cell.concurrency,
            enforcer=block.trial.enforcer,
            arm=leg.arm,
            requests=report.requests,
            seconds=report.seconds,
            cpu_seconds=spent.machine.busy,
            void=False,
            reason=voiding.leg_reason(observed),
            comparison=block.comparison,
            role=leg.role,
            position=position,
            failed=report.failed + report.non_2xx,
            rps=report.rps,
            p50_ms=report.percentiles_ms.get(50, 0.0),
            p99_ms=report.percentiles_ms.get(99, 0.0),
            enforcer_cpu_seconds=spent.daemons,
            stolen_seconds=spent.machine.stolen,
            others_load=others,
            softirq_seconds=spent.machine.softirq,
            generator_cpu_seconds=done.cpu_seconds,
            path_cpu_seconds=spent.path,
            others_during=spent.others,
            at=at - self.started,
            raw=self._keep(
                f"{self.prefix}{block.number:05d}-{position}-{block.cell}.txt", done.raw
            ),
        )

    def _clocks(self) -> _Clocks:
        servers = self.target.servers
        return _Clocks(
            cpu_times(), self.switch.cpu_seconds(), servers.cpu_seconds() if servers else None
        )

    def _keep(self, name: str, text: str) -> str:
        path = f"{RAW}/{name}"
        self.folder.write_text(path, text)
        return path


_NOTHING = ab.Report(requests=0, failed=0, non_2xx=0, kept=0, seconds=0.0, rps=0.0)


def _voided(row: Row, reason: str) -> Row:
    return replace(row, void=bool(reason), reason=reason)
