"""``harness perf`` as a person runs it: real clusters, real nginx, real ab; no timing asserted."""

from __future__ import annotations

import contextlib
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

from harness.measure import blocks
from harness.report import analysis
from harness.stats import Word

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


@pytest.mark.parametrize("enforcers", [("none",), ("bundled", "linear-rules=10")])
def test_a_tiny_run_measures_and_reports(tmp_path: Path, enforcers: tuple[str, ...]) -> None:
    """No request fails, requests were really answered, and the last line is the report."""
    options = [word for name in enforcers for word in ("--enforcer", name)]
    done = start(tmp_path, f"perf-{os.getpid()}-{enforcers[0]}", *options)
    output, _ = done.communicate(timeout=PATIENCE)

    assert done.returncode == 0, output
    report = Path(output.splitlines()[-1])
    assert report.exists()
    measured = rows(report.parent)
    assert {row["failed"] for row in measured} == {"0"}, {row["reason"] for row in measured}
    assert all(float(row["rps"]) > 0 for row in measured)
    arms = {"off"} if enforcers == ("none",) else {"off", "on"}
    assert {row["arm"] for row in measured} == arms
    assert {row["enforcer"] for row in measured} == {"none", *enforcers}
    assert {
        each["failures"]
        for each in json.loads((report.parent / "locust.json").read_text())["visits"]
    } == {0}


def test_every_arm_of_every_enforcer_is_proved_by_packets(tmp_path: Path) -> None:
    """Two enforcers on the same nodes, each on while the other is off, asked from everywhere.

    Rules without their daemon, a daemon without policies, a node that tracks nothing.
    """
    arms = ("bare", "off", "idle", "on", "rules")
    places = ("other-node", "same-node", "outside-pod")
    both = ("--enforcer", "bundled", "--enforcer", "kube-router-0.2-model")
    options = ("--sizes", "2", "--rounds", "1", "--arms", ",".join(arms))
    running = start(
        tmp_path, f"perf-{os.getpid()}-arms", *both, *options, "--placements", ",".join(places)
    )
    output, _ = running.communicate(timeout=PATIENCE)

    assert running.returncode == 0, output
    measured = rows(Path(output.splitlines()[-1]).parent)
    assert {row["failed"] for row in measured} == {"0"}
    assert {row["arm"] for row in measured} == set(arms)
    for name in ("bundled", "kube-router-0.2-model"):
        mine = [row for row in measured if row["enforcer"] == name]
        assert {row["arm"] for row in mine} == {"off", "idle", "on", "rules"}
        assert {row["placement"] for row in mine} == {"outside-service", *places}
    bare = {row["placement"] for row in measured if row["comparison"] == "bare/off"}
    assert bare == {"outside-pod"}


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


def test_beside_burners_nothing_is_slower_or_faster(tmp_path: Path) -> None:
    """With a burner on each CPU even rules that halve the rate get no verdict about it."""
    burn = (sys.executable, "-c", "while True: pass")
    options = ("--enforcer", "linear-rules=3000", "--sizes", "2")
    with contextlib.ExitStack() as burning:
        for _ in os.sched_getaffinity(0):
            burner = burning.enter_context(subprocess.Popen(burn))
            burning.callback(burner.kill)
        running = start(tmp_path, f"perf-{os.getpid()}-burn", *options)
        output, _ = running.communicate(timeout=PATIENCE)

    folder = next(tmp_path.glob("*/blocks.csv")).parent
    found = analysis.analyse(blocks.read(folder / blocks.FILE), seed=1)
    words = {each.verdict.word for each in found.headlines if each.verdict}
    words |= {each.cpu_verdict.word for each in found.headlines if each.cpu_verdict}
    assert words
    assert words <= {Word.INVALID, Word.INDISTINCT}, output
    assert run_json(folder)["status"] == "invalid"
