"""Locust from within a cluster: a master pod and workers, and what they counted brought back.

The same locustfile and the same rules as for a process (:mod:`harness.load.locust`); any image with
locust will do, since the file comes in a ConfigMap. https://docs.locust.io/en/stable/running-distributed.html
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.base import Manifest
from harness.clusters.kube.diagnosis import diagnosis
from harness.clusters.kube.kubectl import Kubectl
from harness.clusters.kube.owned import labelled
from harness.clusters.kube.whereabouts import is_over, problems
from harness.clusters.pods import is_ready
from harness.errors import HarnessError
from harness.load.locust import LOCUSTFILE, SILENCE_SECONDS, Crowd, Report, parse

MASTER, WORKER = "locust-master", "locust-worker"
LABELS = {"app": "locust"}

_FOLDER = "/tmp/npd"  # noqa: S108  # of a pod, which has it to itself
_MARK = "=== npd"
START_SECONDS = 120.0
"""Until a master runs: its node may have to pull the image."""

SLACK_SECONDS = 120.0
_POLL_SECONDS = 0.5
_TOLD = 3
"""Of pods that are late: the others are as these."""


@dataclass(frozen=True, slots=True)
class Squad:
    """Pods that make load: where, of which image, and how many workers, each on a core."""

    kubectl: Kubectl
    namespace: str
    image: str
    workers: int = 1


def run(squad: Squad, crowd: Crowd, prefix: Path) -> Report:
    """Run locust in pods; its totals and its log stay at ``prefix``, as those of a process do.

    The namespace has to be there. HarnessError where nothing is counted, with what the cluster says
    of the pods that are to blame.
    """
    settings = _settings(squad, crowd)
    with _there(squad, [settings, _pod(squad, crowd, MASTER, _master(squad))]):
        address = _address(squad)
        workers = [
            _pod(squad, crowd, f"{WORKER}-{number}", _worker(address))
            for number in range(squad.workers)
        ]
        with _there(squad, workers):
            names = [MASTER, *(one["metadata"]["name"] for one in workers)]
            _wait(squad, names, time.monotonic() + crowd.steps.seconds + SLACK_SECONDS)
            _bring_back(squad, names, prefix)
    return parse(prefix, crowd.steps)


def _settings(squad: Squad, crowd: Crowd) -> Manifest:
    files = {"locustfile.py": LOCUSTFILE.read_text(encoding="utf-8")}
    files["targets"] = " ".join(crowd.targets)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": MASTER, "namespace": squad.namespace},
        "data": files,
    }


def _pod(squad: Squad, crowd: Crowd, name: str, script: str) -> Manifest:
    told = {
        "NPD_RATES": " ".join(map(str, crowd.steps.rates)),
        "NPD_STEP_SECONDS": str(crowd.steps.each),
        "NPD_CPU": f"{_FOLDER}/cpu",
    }
    targets = {"configMapKeyRef": {"name": MASTER, "key": "targets"}}
    environment = [{"name": key, "value": value} for key, value in told.items()]
    container = {
        "name": "locust",
        "image": squad.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
        "env": [*environment, {"name": "NPD_TARGETS", "valueFrom": targets}],
        "volumeMounts": [{"name": "files", "mountPath": "/npd"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": squad.namespace, "labels": dict(LABELS)},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [container],
            "volumes": [{"name": "files", "configMap": {"name": MASTER}}],
        },
    }


_LOCUST = "python3 -m locust --locustfile /npd/locustfile.py --headless --loglevel WARNING"


def _master(squad: Squad) -> str:
    flags = (
        f"--master --expect-workers {squad.workers} --expect-workers-max-wait 90"
        f" --stop-timeout {SILENCE_SECONDS} --only-summary --json-file {_FOLDER}/totals"
    )
    return _script(f"{_LOCUST} {flags}", f"{_FOLDER}/totals.json")


def _worker(address: str) -> str:
    return _script(f"{_LOCUST} --worker --master-host {address}", f"{_FOLDER}/cpu/*.txt")


def _script(command: str, files: str) -> str:
    """Return a script that ends with what it wrote, behind a mark: its log is the way back."""
    return f"mkdir -p {_FOLDER}/cpu; {command}; echo; echo '{_MARK}'; cat {files}"


def _address(squad: Squad) -> str:
    """Return the master's address, once it runs; HarnessError where it does not come to that."""
    deadline = time.monotonic() + START_SECONDS
    while not is_ready(master := _found(squad, MASTER)):
        if is_over(master):
            raise _failure(squad, f"{MASTER} ended before its workers began", [master])
        _require_hope(squad, [master])
        if time.monotonic() > deadline:
            said = f"{MASTER} was not ready within {START_SECONDS:g} s"
            raise _failure(squad, said, [master])
        time.sleep(_POLL_SECONDS)
    return str(master["status"]["podIP"])


def _wait(squad: Squad, names: list[str], deadline: float) -> None:
    while late := [pod for name in names if not is_over(pod := _found(squad, name))]:
        _require_hope(squad, late)
        if time.monotonic() > deadline:
            raise _failure(squad, "locust did not end in time", late)
        time.sleep(_POLL_SECONDS)


def _require_hope(squad: Squad, pods: list[Manifest]) -> None:
    for pod in pods:
        if any(problems([pod])):
            raise _failure(squad, f"{pod['metadata']['name']} cannot start", [pod])


def _failure(squad: Squad, said: str, pods: list[Manifest]) -> HarnessError:
    names = [pod["metadata"]["name"] for pod in pods[:_TOLD]]
    return HarnessError("\n".join((said, *(_why(squad, name) for name in names))))


def _why(squad: Squad, name: str) -> str:
    return diagnosis(squad.kubectl, squad.namespace, name)


def _bring_back(squad: Squad, names: list[str], prefix: Path) -> None:
    """Lay down what the pods wrote as a process would have: totals, and each one's CPU time."""
    folder = prefix.with_name(f"{prefix.name}-cpu")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        said, _, written = _log(squad, name).rpartition(f"{_MARK}\n")
        with prefix.with_name(f"{prefix.name}.log").open("a", encoding="utf-8") as file:
            file.write(f"{name}:\n{said}")
        if name == MASTER:
            prefix.with_name(f"{prefix.name}.json").write_text(_checked(squad, written))
        else:
            (folder / f"{name}.txt").write_text(written)


def _checked(squad: Squad, totals: str) -> str:
    try:
        json.loads(totals)
    except ValueError as error:
        raise HarnessError(f"locust wrote no totals\n{_why(squad, MASTER)}") from error
    return totals


def _found(squad: Squad, name: str) -> Manifest:
    return dict(squad.kubectl.get("pod", "-n", squad.namespace, name))


def _log(squad: Squad, name: str) -> str:
    return squad.kubectl.run("-n", squad.namespace, "logs", name)


@contextlib.contextmanager
def _there(squad: Squad, manifests: list[Manifest]) -> Iterator[None]:
    """Have objects in the cluster while the context lasts, labelled as ours."""
    made = labelled(manifests)
    squad.kubectl.apply(made)
    try:
        yield
    finally:
        squad.kubectl.delete(made)
