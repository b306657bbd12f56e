"""The harness as a guest on a real cluster: it touches nothing that it did not make."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.clusters.kube.owned import SELECTOR
from harness.clusters.pods import is_ready
from harness.images.recipes import ROOT
from tests.kind.deployed import (
    SYSTEM,
    WORKLOAD_IMAGE,
    Place,
    install,
    traces,
    uninstall,
    wait_until,
)

pytestmark = pytest.mark.kind

HARNESS = (sys.executable, "-m", "harness")
KINDS = "namespaces,daemonsets,serviceaccounts,clusterroles,clusterrolebindings"


@pytest.fixture(scope="module")
def house(lab: Place) -> Iterator[Place]:
    """Give the cluster without the tests' own agents: they are the harness's, and one a node."""
    lab.agents.__exit__()
    yield lab
    lab.agents.__enter__()


def functional(house: Place, enforcer: str, results: Path) -> list[str]:
    """Return the command that judges one row of the study."""
    return [
        *(*HARNESS, "functional", "--cluster", "kubeconfig", "--enforcer", enforcer),
        *(f"--kubeconfig={house.kubectl.kubeconfig}", f"--image=workload={WORKLOAD_IMAGE}"),
        *("--group", "study", "-k", "NP-STUDY-01", "--yes", f"--results={results}"),
    ]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end; there is no terminal."""
    return subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_whoever_is_present_is_judged_and_nothing_stays(house: Place, tmp_path: Path) -> None:
    """A row of the study passes, the enforcer is not touched, and no namespace stays."""
    before = _namespaces(house)
    install(house.kubectl)
    try:
        done = run(functional(house, "present", tmp_path))
        pods = house.kubectl.get("pods", "-A", "-l", "app.kubernetes.io/name=npd-enforcer")["items"]
        left = house.kubectl.get("namespaces", "-l", SELECTOR)["items"]
        twice = run(functional(house, "bundled", tmp_path))
    finally:
        uninstall(house.kubectl)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "npd enforcer (DaemonSet kube-system/npd-enforcer) may enforce here" in done.stderr
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0]
    assert left == []
    assert _namespaces(house) == before
    assert twice.returncode == 2
    assert "DaemonSet kube-system/npd-enforcer is there, and is not ours" in twice.stderr


def test_what_a_killed_run_deployed_goes_with_its_tables(house: Place, tmp_path: Path) -> None:
    """Killed with its enforcer in force, a run leaves it; `harness cleanup` leaves nothing."""
    before = {node: traces(house, node) for node in house.node_names()}
    with (tmp_path / "log").open("w") as log:
        killed = subprocess.Popen(
            functional(house, "bundled", tmp_path),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until("enforced on both nodes", _enforced, house)
        finally:
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()

    cleaned = run([*HARNESS, "cleanup", f"--kubeconfig={house.kubectl.kubeconfig}", "--yes"])

    assert cleaned.returncode == 0, cleaned.stderr
    nodes = ", ".join(house.node_names())
    assert f"removed the enforcer's tables on {nodes}" in cleaned.stdout
    assert house.kubectl.get(KINDS, "-A", "-l", SELECTOR)["items"] == []
    for node, was in before.items():
        wait_until(f"{node} is as it was", _is, house, node, was)


def _enforced(lab: Place) -> bool:
    """Whether the enforcer is ready on both nodes; a node's own nft may be too old to tell."""
    label = "app.kubernetes.io/name=npd-enforcer"
    found = lab.kubectl.get("pods", "-n", SYSTEM, "-l", label)["items"]
    return len(found) == len(lab.node_names()) and all(map(is_ready, found))


def _is(lab: Place, node: str, was: str) -> bool:
    return traces(lab, node) == was


def _namespaces(lab: Place) -> set[str]:
    return {one["metadata"]["name"] for one in lab.kubectl.get("namespaces")["items"]}
