"""The harness as a guest on a real cluster, where an enforcer is present that it may not touch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.clusters.kube.owned import SELECTOR
from harness.images.recipes import ROOT
from tests.kind.deployed import WORKLOAD_IMAGE, Place, install, uninstall

pytestmark = pytest.mark.kind


def test_whoever_is_present_is_judged_and_nothing_stays(lab: Place, tmp_path: Path) -> None:
    """A row of the study passes, the enforcer is not touched, and no namespace stays.

    Its own agents go for that long: they are the harness's, and there is one a node.
    """
    before = _namespaces(lab)
    install(lab.kubectl)
    lab.agents.__exit__()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "harness", "functional", "--cluster", "kubeconfig"),
                *(f"--kubeconfig={lab.kubectl.kubeconfig}", f"--workload-image={WORKLOAD_IMAGE}"),
                *("--enforcer", "present", "--group", "study", "-k", "NP-STUDY-01", "--yes"),
                f"--results={tmp_path}",
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        pods = lab.kubectl.get("pods", "-A", "-l", "app.kubernetes.io/name=npd-enforcer")["items"]
        left = lab.kubectl.get("namespaces", "-l", SELECTOR)["items"]
    finally:
        lab.agents.__enter__()
        uninstall(lab.kubectl)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "npd enforcer (DaemonSet kube-system/npd-enforcer) may enforce here" in done.stderr
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0]
    assert left == []
    assert _namespaces(lab) == before


def _namespaces(lab: Place) -> set[str]:
    return {one["metadata"]["name"] for one in lab.kubectl.get("namespaces")["items"]}
