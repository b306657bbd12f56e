"""The bench in small: each of its parts runs to its end, and its answers are right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

PATIENCE = 300.0
Figures = dict[str, float]


def bench(results: Path, part: str, *options: str) -> Figures:
    """Run a part of the bench in a namespace of its own; return its figures by their names."""
    argv = [sys.executable, "-m", "tests.bench", "--only", part, "--results", str(results)]
    done = subprocess.run(
        [*argv, *options], capture_output=True, check=False, text=True, timeout=PATIENCE
    )
    found = [*results.glob("*/bench.json")]
    assert len(found) == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return {item["name"]: item["value"] for item in json.loads(found[0].read_text())}


def test_the_daemon_is_measured_from_its_start_to_an_idle_end(tmp_path: Path) -> None:
    """Start, single changes, a burst and an idle time all reach the kernel and are counted."""
    size = ("--pods=60", "--policies=20", "--local=6", "--changes=3", "--idle=0.1")
    figures = bench(tmp_path, "daemon", *size)
    assert figures["elements"] > 0
    assert figures["cold start: from the first list to the kernel"] > 0
    assert figures["one change: request to kernel, p50"] > 0
    assert figures["transactions that it took"] > 0
    assert figures["resident memory at the end"] > 0


def test_three_ways_of_writing_an_element_are_timed(tmp_path: Path) -> None:
    """A process, the library and raw netlink each add an element and take it away."""
    figures = bench(tmp_path, "seam", "--changes=3")
    assert len(figures) > 0
    assert all(value > 0 for value in figures.values()), figures


def test_hard_policies_answer_as_the_oracle_does(tmp_path: Path) -> None:
    """Many rules, blocks, policies, ranges and excepts: the kernel's sets allow what is meant."""
    figures = bench(tmp_path, "hard", "--scale=20")
    wrong = {name: value for name, value in figures.items() if "wrong answers" in name}
    assert len(wrong) == 5
    assert set(wrong.values()) == {0}, wrong


def test_what_a_packet_meets_does_not_grow_with_the_cluster(tmp_path: Path) -> None:
    """Fifty times the pods and policies: a class asks at most its five sets, and pods answer."""
    figures = bench(tmp_path, "flat", "--scale=20", "--pairs=2")
    ways = [value for name, value in figures.items() if "can meet" in name]
    assert len(ways) == 3
    assert max(ways) - min(ways) <= 5
    assert len([name for name in figures if name.endswith("on over off")]) == 3
