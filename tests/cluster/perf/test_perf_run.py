"""``harness perf`` as a person runs it: real clusters, real nginx, real ab; no timing asserted."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

PATIENCE = 600.0
"""Seconds that a tiny run may take on a slow machine."""


def start(results: Path, name: str, *options: str) -> subprocess.Popen[str]:
    """Start a tiny run in a process group of its own, as a shell does."""
    argv = (sys.executable, "-m", "harness", "perf", "--tiny", "--results", str(results))
    return subprocess.Popen(
        (*argv, "--name", name, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def rows(folder: Path) -> list[dict[str, str]]:
    """Return what blocks.csv holds."""
    with (folder / "blocks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def run_json(folder: Path) -> dict[str, Any]:
    """Return what run.json holds."""
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.05)


def processes_naming(name: str) -> list[str]:
    """Return the command lines of the processes that name the cluster."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name in line:
            found.append(line)
    return found


@pytest.mark.parametrize("enforcer", ["none", "bundled"])
def test_a_tiny_run_measures_and_reports(tmp_path: Path, enforcer: str) -> None:
    """No request fails, requests were really answered, and the last line is the report."""
    done = start(tmp_path, f"perf-{os.getpid()}-{enforcer}", "--enforcer", enforcer)
    output, _ = done.communicate(timeout=PATIENCE)

    assert done.returncode == 0, output
    report = Path(output.splitlines()[-1])
    assert report.exists()
    measured = rows(report.parent)
    assert {row["failed"] for row in measured} == {"0"}, {row["reason"] for row in measured}
    assert all(float(row["rps"]) > 0 for row in measured)
    arms = {"off"} if enforcer == "none" else {"off", "on"}
    assert {row["arm"] for row in measured} == arms
    assert {
        each["failures"]
        for each in json.loads((report.parent / "locust.json").read_text())["visits"]
    } == {0}


@pytest.mark.parametrize("enforcer", ["bundled", "kube-router-0.2-model"])
def test_every_arm_is_proved_by_packets(tmp_path: Path, enforcer: str) -> None:
    """Rules without their daemon, a daemon without policies, a node that tracks nothing."""
    arms = ("bare", "off", "idle", "on", "rules")
    options = ("--enforcer", enforcer, "--sizes", "2", "--rounds", "1", "--arms", ",".join(arms))
    running = start(tmp_path, f"perf-{os.getpid()}-arms", *options)
    output, _ = running.communicate(timeout=PATIENCE)

    assert running.returncode == 0, output
    measured = rows(Path(output.splitlines()[-1]).parent)
    assert {row["arm"] for row in measured} == set(arms)
    assert {row["failed"] for row in measured} == {"0"}
    straight = {row["comparison"] for row in measured if row["placement"] == "outside-pod"}
    assert straight == {"bare/off"}


def test_ctrl_c_ends_with_a_partial_report_and_nothing_left(tmp_path: Path) -> None:
    """Whole blocks are reported, the run is marked, and no process of the cluster is left."""
    name = f"perf-{os.getpid()}-cut"
    running = start(tmp_path, name, "--enforcer", "none", "--rounds", "200")
    wait_for(lambda: any(len(rows(path.parent)) >= 4 for path in tmp_path.glob("*/blocks.csv")))

    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=PATIENCE)

    assert running.returncode == 130, output
    report = Path(output.splitlines()[-1])
    assert "This run is partial" in report.read_text()
    assert run_json(report.parent)["status"] == "partial"
    assert processes_naming(name) == []


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    """After SIGKILL the same folder is finished: every block once, those from before untouched."""
    options = ("--enforcer", "none", "--sizes", "2", "--rounds", "4")
    running = start(tmp_path, f"perf-{os.getpid()}-kill", *options)
    wait_for(lambda: any(len(rows(path.parent)) >= 4 for path in tmp_path.glob("*/blocks.csv")))
    running.kill()
    running.communicate(timeout=PATIENCE)
    folder = next(tmp_path.glob("*/blocks.csv")).parent
    before = rows(folder)[:4]

    argv = (sys.executable, "-m", "harness", "perf", "--resume", str(folder))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    after = rows(folder)
    assert after[:4] == before
    assert [int(row["block"]) for row in after[::2]] == list(range(1, 17))
    assert run_json(folder)["status"] in {"passed", "invalid"}
    assert len(run_json(folder)["resumed"]) == 1
