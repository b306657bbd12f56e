"""The functional run on a real embedded cluster, with real packets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.embedded import state
from harness.matrix.axes import Placement
from harness.matrix.record import MatrixRecord, load_record

pytestmark = pytest.mark.cluster

LIMIT = 300


def functional(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, in a folder of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def command(*arguments: str) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "harness", "functional", *arguments]


def environment() -> dict[str, str]:
    """Return an environment in which it runs from any folder."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def stored(folder: Path) -> tuple[dict[str, Any], MatrixRecord]:
    """Return ``run.json`` and the matrix of the only run."""
    (results,) = (folder / "results").iterdir()
    run: dict[str, Any] = json.loads((results / "run.json").read_text())
    return run, load_record(results / "matrix.json")


def test_without_an_enforcer_denies_are_failures(tmp_path: Path) -> None:
    """Nothing enforces: each expected deny is open, on every placement, and the exit code is 1."""
    done = functional(tmp_path, "--enforcer", "none", "--cni", "routed", "-k", "NP-STUDY-02")

    assert done.returncode == 1, done.stdout + done.stderr
    run, record = stored(tmp_path)
    (step,) = record.steps
    leaked = {cell.placement for cell in record.views(step.cells) if not cell.right}
    assert run["status"] == "failed"
    assert leaked == {
        Placement.SAME_NODE,
        Placement.OTHER_NODE,
        Placement.HOST_TO_REMOTE_POD,
        Placement.FROM_OUTSIDE,
    }


@pytest.mark.parametrize("cni", ["routed", "bridged"])
def test_bundled_enforcer_is_right(tmp_path: Path, cni: str) -> None:
    """The bundled enforcer passes rows 2 and 4, same-node cells included, on both wirings."""
    done = functional(tmp_path, "--cni", cni, "-k", "NP-STUDY-02 or NP-STUDY-04")

    assert done.returncode == 0, done.stdout + done.stderr
    _, record = stored(tmp_path)
    assert {"NP-STUDY-02", "NP-STUDY-04"} == {step.case for step in record.steps}
    assert all(cell.right for step in record.steps for _, cell in record.all_views(step))


def test_three_nodes(tmp_path: Path) -> None:
    """A third node changes nothing but placements."""
    done = functional(tmp_path, "--nodes", "3", "--cni", "bridged", "-k", "NP-STUDY-01")

    assert done.returncode == 0, done.stdout + done.stderr


def test_ctrl_c_while_the_next_cluster_is_made(tmp_path: Path) -> None:
    """Two clusters are up, or nearly: 130, what was judged is stored as partial, nothing is left.

    Either of them may be the one of a case when it comes, so it comes at whatever moment.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root")
    asked = command("--control-plane", "builtin", "--group", "study")
    with subprocess.Popen(
        asked, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        _until(running.stdout, "bridged: deploying")
        os.killpg(running.pid, signal.SIGINT)
        said, _ = running.communicate(timeout=LIMIT)

    run, record = stored(tmp_path)
    assert running.returncode == 130, said
    assert run["status"] == "partial"
    assert record.missing()
    assert not [one for one in state.running() if one.name.startswith(f"run-{running.pid}-")]


def _until(lines: Iterable[str], words: str) -> None:
    """Read until somebody says so."""
    seen = []
    for line in lines:
        seen.append(line)
        if words in line:
            return
    pytest.fail(f"nobody said {words!r}: {''.join(seen)}")
