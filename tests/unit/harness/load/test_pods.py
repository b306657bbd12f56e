"""Locust in pods: what is asked of the cluster, and what comes back by the pods' logs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.load import pods
from harness.load.locust import Crowd, Steps

TOTALS = [
    {"name": f"0 {what}", "num_requests": 200, "num_failures": 0, "response_times": {"5.0": 200}}
    for what in ("arrival", "service")
]
READY: dict[str, Any] = {
    "phase": "Succeeded",
    "podIP": "10.244.0.7",
    "conditions": [{"type": "Ready", "status": "True"}],
}
CROWD = Crowd(("http://10.96.0.9:80/",), "", Steps(rates=(100,), each=2.0, processes=2))


class Cluster:
    """As much of kubectl as pods need, which end at once and have written something."""

    def __init__(self, totals: str = json.dumps(TOTALS), **status: Any) -> None:
        self.totals = totals
        self.status = status or READY
        self.made: dict[str, dict[str, Any]] = {}
        self.left: list[str] = []

    def apply(self, manifests: Iterable[dict[str, Any]]) -> None:
        self.made |= {one["metadata"]["name"] + one["kind"]: one for one in manifests}

    def delete(self, manifests: Iterable[dict[str, Any]]) -> None:
        self.left += [one["metadata"]["name"] for one in manifests]

    def run(self, *words: str, timeout: float = 300.0) -> str:
        del timeout
        assert "logs" in words
        notes = self.totals if pods.MASTER in words else "0 10.0 1.0\n1 12.0 1.4\n"
        return f"what locust says\n\n=== npd\n{notes}"

    def get(self, *words: str) -> Mapping[str, Any]:
        if words[0] == "events":
            return {"items": []}
        metadata = {"namespace": "home", "name": words[-1]}
        return {"metadata": metadata, "spec": {}, "status": self.status}


def squad(cluster: Cluster) -> pods.Squad:
    """Return two workers on a cluster in memory."""
    return pods.Squad(cluster, "home", "locust:1", 2)  # type: ignore[arg-type]


def test_workers_find_their_master_and_results_come_back(tmp_path: Path) -> None:
    """A master waits for two workers, who are told its address; totals and CPU times come back."""
    cluster = Cluster()

    report = pods.run(squad(cluster), CROWD, tmp_path / "on")

    scripts = {
        name: one["spec"]["containers"][0]["command"][-1]
        for name, one in cluster.made.items()
        if one["kind"] == "Pod"
    }
    assert "--expect-workers 2" in scripts["locust-masterPod"]
    assert all("--master-host 10.244.0.7" in scripts[f"locust-worker-{n}Pod"] for n in (0, 1))
    assert (report.requests, report.failures, report.steps[0].void) == (200, 0, "")
    assert report.steps[0].busiest == pytest.approx(0.2)
    assert "locust-worker-1:\nwhat locust says" in (tmp_path / "on.log").read_text()


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    """Pods and settings are labelled as ours, and gone at the end, also where locust failed."""
    cluster = Cluster("Traceback")

    with pytest.raises(HarnessError, match=r"wrote no totals\n(?s:.*)log: what locust says"):
        pods.run(squad(cluster), CROWD, tmp_path / "on")

    label = "app.kubernetes.io/managed-by"
    assert {one["metadata"]["labels"][label] for one in cluster.made.values()} == {"npd-harness"}
    assert sorted(cluster.left) == sorted(one["metadata"]["name"] for one in cluster.made.values())


UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/2 nodes are available: 2 Too many pods.",
        }
    ],
}
PULLING = {
    "phase": "Pending",
    "containerStatuses": [
        {
            "name": "locust",
            "image": "locust:1",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}},
        }
    ],
}
KILLED = {
    "phase": "Failed",
    "containerStatuses": [
        {
            "name": "locust",
            "image": "locust:1",
            "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        }
    ],
}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (UNSCHEDULABLE, "locust-master was not ready within 0 s"),
        (UNSCHEDULABLE, "PodScheduled False: Unschedulable: 0/2 nodes are available"),
        (PULLING, "locust-master cannot start"),
        (PULLING, "container locust (locust:1): not ready, waiting: ImagePullBackOff: Back-off"),
        (KILLED, "locust-master ended before its workers began"),
        (KILLED, "terminated, exit code 137: OOMKilled"),
    ],
)
def test_a_master_that_does_not_come_is_explained(
    status: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why is in the error: the pod is deleted by then. Who can never start is not waited for."""
    starting = 0.0 if status is UNSCHEDULABLE else 1e6
    monkeypatch.setattr(pods, "START_SECONDS", starting)
    cluster = Cluster(**status)

    with pytest.raises(HarnessError) as raised:
        pods.run(squad(cluster), CROWD, tmp_path / "on")

    assert said in str(raised.value)
    assert cluster.left == [pods.MASTER, pods.MASTER]


def test_workers_that_do_not_end_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that still runs after its time is named, with its last words."""
    monkeypatch.setattr(pods, "SLACK_SECONDS", -1e6)
    cluster = Cluster(**(READY | {"phase": "Running"}))

    with pytest.raises(HarnessError, match="locust did not end in time") as raised:
        pods.run(squad(cluster), CROWD, tmp_path / "on")

    said = str(raised.value)
    assert all(f"pod home/{name}: Running" in said for name in ("locust-master", "locust-worker-1"))
    assert "log: what locust says" in said
