"""What an error tells of a pod that is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.clusters.kube.diagnosis import described, diagnosis
from harness.errors import ClusterError

POD: dict[str, Any] = {
    "metadata": {"namespace": "x", "name": "a"},
    "spec": {"nodeName": "one"},
    "status": {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "DisruptionTarget", "status": "False", "reason": "PreemptionByScheduler"},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
        ],
        "containerStatuses": [
            {
                "name": "c",
                "image": "i:1",
                "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off\n20s"}},
                "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
            }
        ],
    },
}


class Said:
    """As much of kubectl as a diagnosis needs: the pod, seven events, and a log or none."""

    def __init__(self, log: str | None) -> None:
        self.log = log

    def get(self, kind: str, *words: str) -> Mapping[str, Any]:
        if kind == "pod":
            return POD
        assert "--field-selector=involvedObject.kind=Pod,involvedObject.name=a" in words
        old = [
            {"reason": "Old", "message": f"{n}", "lastTimestamp": f"2026-01-01T00:00:0{n}Z"}
            for n in range(6)
        ]
        seen = {"count": 3, "lastObservedTime": "2026-01-01T00:01:00.5Z"}
        return {"items": [{"reason": "Failed", "message": "pull " * 90, "series": seen}, *old]}

    def run(self, *words: str, timeout: float) -> str:
        assert words[-1].startswith("--tail=")
        assert timeout > 0
        if self.log is None:
            raise ClusterError("kubectl logs failed:\ncontainer is waiting to start")
        return self.log


def test_a_pod_is_described_by_what_is_wrong_with_it() -> None:
    """Its phase and node, conditions that are not met, and each container with its last end."""
    pod, condition, container = described(POD)

    assert pod == "pod x/a: Running, on one"
    assert condition == "DisruptionTarget False: PreemptionByScheduler"
    assert container == (
        "container c (i:1): not ready, waiting: CrashLoopBackOff: back-off 20s; started again,"
        " times: 2; before: terminated, exit code 137: OOMKilled"
    )


def test_a_pod_that_nobody_has_taken_is_described_too() -> None:
    """Without a node and without a status there is still its name."""
    fresh = {"metadata": POD["metadata"], "spec": {}}

    assert list(described(fresh)) == ["pod x/a: Unknown, on no node"]


def test_the_last_events_and_words_are_told_and_no_more() -> None:
    """The newest five events and twelve lines, none of them longer than a few lines of a screen."""
    log = "\n".join(f"line {number}" for number in range(40))

    lines = diagnosis(Said(log), "x", "a").splitlines()  # type: ignore[arg-type]

    events = [line for line in lines if line.startswith("  event")]
    assert [line.split(": ")[1] for line in events] == ["Old"] * 4 + ["Failed"]
    assert events[-1].startswith("  event (3 times): Failed: pull pull")
    assert [line for line in lines if "log:" in line] == [f"  log: line {n}" for n in range(28, 40)]
    assert max(map(len, lines)) <= 302


def test_what_cannot_be_read_is_said_in_its_place() -> None:
    """A diagnosis never fails itself: the error that it explains would be lost."""
    said = diagnosis(Said(None), "x", "a")  # type: ignore[arg-type]

    assert "pod x/a: Running" in said
    assert said.endswith("log: not to be read: kubectl logs failed: container is waiting to start")
