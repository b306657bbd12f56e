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
from harness.measure.switch import Switch
from harness.results import RunFolder

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
class Bench:
    """Runs blocks and returns what they showed, in the form that is stored."""

    switch: Switch
    target: Target
    folder: RunFolder
    started: float
    """``time.monotonic()`` at the start of the measurement."""

    prefix: str = ""
    """Of the names of ab's outputs."""

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
        at, cpu, own = time.monotonic(), cpu_times(), self.switch.cpu_seconds()
        done = ab.run(self.switch.cluster, self.target.place(block.cell), work)
        used, wall = cpu_times() - cpu, time.monotonic() - at
        report = done.report or _NOTHING
        observed = _observed(done, used, wall, others)
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
            cpu_seconds=used.busy,
            void=False,
            reason=voiding.leg_reason(observed),
            comparison=block.comparison,
            role=leg.role,
            position=position,
            failed=report.failed + report.non_2xx,
            rps=report.rps,
            p50_ms=report.percentiles_ms.get(50, 0.0),
            p99_ms=report.percentiles_ms.get(99, 0.0),
            enforcer_cpu_seconds=self.switch.cpu_seconds() - own,
            stolen_seconds=used.stolen,
            others_load=others,
            softirq_seconds=used.softirq,
            generator_cpu_seconds=done.cpu_seconds,
            at=at - self.started,
            raw=self._keep(
                f"{self.prefix}{block.number:05d}-{position}-{block.cell}.txt", done.raw
            ),
        )

    def _keep(self, name: str, text: str) -> str:
        path = f"{RAW}/{name}"
        self.folder.write_text(path, text)
        return path


_NOTHING = ab.Report(requests=0, failed=0, non_2xx=0, kept=0, seconds=0.0, rps=0.0)


def _observed(done: ab.Run, used: CpuTimes, wall: float, others: float) -> voiding.Observed:
    return voiding.Observed(
        error=done.error,
        stolen_seconds=used.stolen,
        capacity_seconds=wall * cpus(),
        load=others,
        generator=done.user_seconds / wall,
    )


def _voided(row: Row, reason: str) -> Row:
    return replace(row, void=bool(reason), reason=reason)
