"""What the machine did beside the load: CPU time used and stolen, from ``/proc/stat``.

The figures are of the whole machine, since softirq work has no process to be charged to. Source:
https://docs.kernel.org/filesystems/proc.html, "Miscellaneous kernel statistics in /proc/stat".
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL = 0, 1, 2, 5, 6, 7


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds since boot, of all CPUs together."""

    busy: float
    stolen: float
    softirq: float = 0.0
    """Of ``busy``: what no process is charged for, packets received among it."""

    def __sub__(self, earlier: CpuTimes) -> CpuTimes:
        """Return what was used between two readings."""
        return CpuTimes(
            self.busy - earlier.busy,
            self.stolen - earlier.stolen,
            self.softirq - earlier.softirq,
        )


def cpu_times(stat: Path = Path("/proc/stat")) -> CpuTimes:
    """Read the clock of all CPUs; its step is one tick, 10 ms."""
    ticks = [int(field) for field in stat.read_text().partition("\n")[0].split()[1:]]
    per_second = os.sysconf("SC_CLK_TCK")
    busy = sum(ticks[index] for index in (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ))
    return CpuTimes(busy / per_second, ticks[_STEAL] / per_second, ticks[_SOFTIRQ] / per_second)


def load(seconds: float) -> float:
    """Return the share of this machine's CPUs that was busy for the next ``seconds``."""
    before, started = cpu_times(), time.monotonic()
    time.sleep(seconds)
    used, wall = cpu_times() - before, time.monotonic() - started
    return min(1.0, (used.busy + used.stolen) / (wall * cpus()))


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))
