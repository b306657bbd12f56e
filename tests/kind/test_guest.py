"""The harness as a guest on a real cluster: it touches nothing that it did not make."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.clusters.base import Manifest
from harness.clusters.kube.owned import SELECTOR
from harness.clusters.pods import is_ready
from harness.images.recipes import ROOT
from tests.kind.deployed import (
    SYSTEM,
    WORKLOAD_IMAGE,
    House,
    install,
    traces,
    uninstall,
    wait_until,
)

pytestmark = pytest.mark.kind

HARNESS = (sys.executable, "-m", "harness")
KINDS = "namespaces,daemonsets,serviceaccounts,clusterroles,clusterrolebindings"


def functional(house: House, enforcer: str, results: Path, *cases: str) -> list[str]:
    """Return the command that judges rows of the study: all, unless ``cases`` says which."""
    return [
        *(*HARNESS, "functional", "--cluster", "kubeconfig", "--enforcer", enforcer),
        *(f"--kubeconfig={house.kubectl.kubeconfig}", f"--image=workload={WORKLOAD_IMAGE}"),
        *("--group", "study", *cases, "--yes", f"--results={results}"),
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


def test_whoever_is_present_is_judged_and_nothing_stays(house: House, tmp_path: Path) -> None:
    """A row of the study passes, the enforcer is not touched, and no namespace stays."""
    before = _namespaces(house)
    install(house.kubectl)
    try:
        done = run(functional(house, "present", tmp_path, "-k", "NP-STUDY-01"))
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


@dataclass(frozen=True, slots=True)
class Doomed:
    """A command of ours that goes on in the background, and will not come to its end."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, what: str, condition: Callable[..., bool], *arguments: object) -> None:
        """Return once the condition holds; where it does not, fail with what the command said."""

        def holds() -> bool:
            assert self.process.poll() is None, f"it ended before: {what}"
            return condition(*arguments)

        try:
            wait_until(what, holds)
        except AssertionError as error:
            pytest.fail(f"{error}\n{self.log.read_text()}", pytrace=False)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it started."""
        os.killpg(self.process.pid, number)


@contextlib.contextmanager
def doomed(command: list[str], log: Path) -> Iterator[Doomed]:
    """Start a command of ours, and kill it with all that it started."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    started = Doomed(process, log)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            started.tell(signal.SIGKILL)
        process.wait()


def test_what_a_killed_run_deployed_goes_with_its_tables(house: House, tmp_path: Path) -> None:
    """Killed with its enforcer in force, a run leaves it; `harness cleanup` leaves nothing.

    It is stopped as soon as the daemons are there: until the kubelet calls them ready takes up to
    the period of their probe, and by then a quick run would have taken them away again.
    """
    before = {node: traces(house, node) for node in house.node_names()}
    with doomed(functional(house, "bundled", tmp_path), tmp_path / "log") as killed:
        killed.wait_until("daemons on both nodes", _daemons_are, house, _is_there)
        killed.tell(signal.SIGSTOP)
        killed.wait_until("enforced on both nodes", _daemons_are, house, is_ready)

    cleaned = run([*HARNESS, "cleanup", f"--kubeconfig={house.kubectl.kubeconfig}", "--yes"])

    assert cleaned.returncode == 0, cleaned.stderr
    nodes = ", ".join(house.node_names())
    assert f"removed the enforcer's tables on {nodes}" in cleaned.stdout
    assert house.kubectl.get(KINDS, "-A", "-l", SELECTOR)["items"] == []
    for node, was in before.items():
        wait_until(f"{node} is as it was", _is, house, node, was)


def _daemons_are(lab: House, in_state: Callable[[Manifest], bool]) -> bool:
    """Whether each node has an enforcer in some state; its own nft may be too old to tell more."""
    label = "app.kubernetes.io/name=npd-enforcer"
    found = lab.kubectl.get("pods", "-n", SYSTEM, "-l", label)["items"]
    return {pod["spec"].get("nodeName") for pod in found if in_state(pod)} == {*lab.node_names()}


def _is_there(pod: Manifest) -> bool:
    """Whether a pod is to stay, be it ready or not."""
    return "deletionTimestamp" not in pod["metadata"]


def _is(lab: House, node: str, was: str) -> bool:
    return traces(lab, node) == was


def _namespaces(lab: House) -> set[str]:
    return {one["metadata"]["name"] for one in lab.kubectl.get("namespaces")["items"]}
