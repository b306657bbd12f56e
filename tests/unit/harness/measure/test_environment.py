"""CPU time of the machine, read from the kernel's counters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.measure.environment import cpu_times


def test_idle_and_waiting_are_not_busy(tmp_path: Path) -> None:
    """Busy is user, nice, system, irq and softirq; stolen stands apart."""
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 10 200 9000 800 3 47 60 5 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    ticks = os.sysconf("SC_CLK_TCK")

    times = cpu_times(stat)

    assert times.busy == pytest.approx((100 + 10 + 200 + 3 + 47) / ticks)
    assert times.stolen == pytest.approx(60 / ticks)
