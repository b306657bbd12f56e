"""Pods that never run, on real nodes: what is told of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.clusters.kube.whereabouts import is_over, problems
from harness.errors import HarnessError
from harness.load import pods
from harness.load.locust import Crowd, Steps
from tests.kind.deployed import NAMESPACE, PATIENCE, House, pod_manifest

pytestmark = pytest.mark.kind


def test_a_load_pod_that_cannot_start_says_why(house: House, tmp_path: Path) -> None:
    """The kubelet's own words about the image, and what it did, are in the error; nothing stays."""
    squad = pods.Squad(house.kubectl, NAMESPACE, "No-Image-Has-This-Name:1")

    with pytest.raises(HarnessError) as raised:
        pods.run(squad, Crowd((), "", Steps(rates=(100,), each=1.0)), tmp_path / "on")

    said = str(raised.value)
    assert said.startswith("locust-master cannot start\n  pod npd-kind/locust-master: Pending, on ")
    assert "waiting: InvalidImageName: " in said
    assert "  event" in said
    assert house.kubectl.get("pods", "-n", NAMESPACE, "-l", "app=locust")["items"] == []


def test_a_pod_whose_program_its_node_cannot_start_is_told(house: House) -> None:
    """It is Failed at once and over, as a pod that has run; its container's reason is another."""
    manifest = pod_manifest("stillborn", house.node_names()[1], "stillborn")
    manifest["spec"] |= {"restartPolicy": "Never"}
    manifest["spec"]["containers"][0] |= {"command": ["/no/such/program"]}
    deadline = time.monotonic() + PATIENCE
    house.kubectl.apply([manifest])
    try:
        while not is_over(pod := dict(house.kubectl.get("pod", "-n", NAMESPACE, "stillborn"))):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        house.kubectl.delete([manifest])

    (said,) = problems([pod])
    assert said.startswith("npd-kind/stillborn: StartError ")
    assert "/no/such/program" in said
