"""``harness perf --changes`` on a cluster: few events, real packets, pods replaced meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.measure.changes import record
from harness.measure.changes.record import Load
from harness.measure.changes.resources import Phase
from harness.prober.stream import Flow
from harness.report.latencies import NAMES

pytestmark = pytest.mark.cluster

PATIENCE = 600.0
INTERRUPTED = 130
NEVER_LATE = "pod started, others denied"


def harness(*argv: str) -> str:
    """Run the harness and return its last line."""
    program = (sys.executable, "-m", "harness", *argv)
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@dataclass(frozen=True)
class Resumed:
    """A tiny run that Ctrl-C ended early, and that then went on to its end."""

    partial: str
    """Its report in between."""

    report: Path


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """Cut a run off as soon as an event is stored, and take it up again."""
    results = tmp_path_factory.mktemp("results")
    options = ("--changes", "--tiny", "--results", str(results), "--name", f"changes-{os.getpid()}")
    program = (sys.executable, "-m", "harness", "perf", *options)
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        deadline = time.monotonic() + PATIENCE
        while not any(record.events(path) for path in results.glob(f"*/{record.EVENTS}")):
            assert time.monotonic() < deadline, "no event was ever stored"
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        output, _ = running.communicate(timeout=PATIENCE)
    report = Path(output.splitlines()[-1])
    assert running.returncode == INTERRUPTED, output
    partial = report.read_text()
    assert Path(harness("perf", "--resume", str(report.parent))) == report
    return Resumed(partial, report)


def test_ctrl_c_reports_what_there_is_and_the_run_goes_on(resumed: Resumed) -> None:
    """The report is marked partial; taken up again, the run is whole: two events of each kind."""
    rows = record.events(resumed.report.parent / record.EVENTS)

    assert "This run is partial" in resumed.partial
    assert "This run is partial" not in resumed.report.read_text()
    counted = Counter((row.load, row.change, row.flow) for row in rows)
    assert set(counted.values()) == {2}
    run = json.loads((resumed.report.parent / "run.json").read_text())
    assert run["status"] == "passed"
    assert len(run["resumed"]) == 1


def test_every_change_is_measured_quiet_and_under_churn(resumed: Resumed) -> None:
    """Events of each kind, both loads, the daemons of every node, and a report drawn again."""
    report = resumed.report
    rows = record.events(report.parent / record.EVENTS)
    assert {(row.load, row.change) for row in rows if row.flow is Flow.NEW} >= {
        (load, change) for load in Load for change in NAMES if "nothing enforced" not in change
    }
    assert {row.change for row in rows} == set(NAMES)
    # A probe that a busy machine holds up voids its event: said, and never counted.
    counted = [row for row in rows if not row.void]
    assert len(counted) > len(rows) // 2
    assert {row.milliseconds for row in counted if row.change == NEVER_LATE} <= {0.0}

    taken = record.resources(report.parent / record.RESOURCES)
    assert {(row.phase, row.node) for row in taken} == {
        (phase, node) for phase in Phase for node in ("node-1", "node-2")
    }
    assert all(row.rss_bytes > 0 for row in taken)
    idle = [row for row in taken if row.phase is Phase.IDLE]
    assert all(row.rules and row.sets and row.elements for row in idle)

    before = report.read_text()
    assert Path(harness("report", str(report.parent))) == report
    assert report.read_text() == before
