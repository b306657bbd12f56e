"""Real clusters as values: what pods run, who is ready, whom a probe is handed to."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import Held, Outcome, Place, PodRef, Probe, Transport, Verdict
from harness.clusters.kube.agents import manifests
from harness.clusters.kube.members import members
from harness.clusters.kube.probing import Door, Probing
from harness.clusters.kube.proxies import out_of_step
from harness.clusters.kube.runner import NOT_FOUND, TIMED_OUT, Run, carry_out, serve
from harness.clusters.kube.talks import talk
from harness.clusters.kube.whereabouts import Whereabouts, problems
from harness.clusters.kube.workloads import dressed, echo_ports
from harness.errors import ClusterError
from harness.prober.client import ProberClient
from harness.prober.protocol import Attempt

UID = "0b3e1f6a-2c55-4a6e-9d3c-0123456789ab"
IMAGE = "npd-workload:1"


def pod(name: str, *, ready: bool = True, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a pod as the API has it."""
    return {
        "kind": "Pod",
        "metadata": {"namespace": "x", "name": name, "uid": UID, "labels": labels or {}},
        "spec": {"nodeName": "one", "containers": []},
        "status": {
            "phase": "Running",
            "podIP": "10.1.0.2",
            "podIPs": [{"ip": "10.1.0.2"}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def of(container: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of a pod with one container."""
    return {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}}


def test_our_image_stands_for_nginx_and_serves_its_tcp_ports() -> None:
    """Nginx becomes our image, which serves each TCP port; others are left to echo servers."""
    ports = [
        {"containerPort": 81},
        {"containerPort": 80, "protocol": "TCP"},
        {"containerPort": 80, "protocol": "UDP"},
    ]

    made = dressed(
        of({"name": "n", "image": "docker.io/library/nginx:1.27", "ports": ports}), IMAGE
    )

    (container,) = made["spec"]["containers"]
    (config,) = (one["value"] for one in container["env"])
    assert container["image"] == IMAGE
    assert "listen 80;" in config
    assert "listen 81;" in config
    assert list(echo_ports(made)) == [("UDP", 80)]


@pytest.mark.parametrize(
    "container",
    [{"image": "redis:7"}, {"image": "nginx-exporter"}, {"image": "nginx", "command": ["sleep"]}],
)
def test_other_containers_stay_as_they_are(container: dict[str, Any]) -> None:
    """What is not nginx itself keeps its image, and has no echo servers of ours."""
    container = {"ports": [{"containerPort": 80, "protocol": "UDP"}], **container}

    made = dressed(of(container), IMAGE)

    assert made["spec"]["containers"] == [container]
    assert not list(echo_ports(made))


def test_a_pod_that_never_starts_is_told_at_once() -> None:
    """An image that no node has ends the wait; a container that is being made does not."""
    waiting = pod("b", ready=False)
    waiting["status"]["containerStatuses"] = [
        {"image": "gone:1", "state": {"waiting": {"reason": "ErrImageNeverPull"}}}
    ]
    starting = pod("a", ready=False)
    starting["status"]["containerStatuses"] = [
        {"image": "here:1", "state": {"waiting": {"reason": "ContainerCreating"}}}
    ]

    assert list(problems([starting, waiting])) == ["x/b: ErrImageNeverPull (gone:1)"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [("StartError", ["x/a: StartError (here:1) no time left"]), ("Error", []), ("Completed", [])],
)
def test_a_pod_that_ended_before_it_ran_is_no_finished_pod(reason: str, said: list[str]) -> None:
    """Who ran and ended is nobody's to wait for; whom the node could not start is missed."""
    ended = pod("a", ready=False)
    terminated = {"reason": reason, "exitCode": 128, "message": "no time left"}
    ended["status"] |= {
        "phase": "Failed",
        "containerStatuses": [{"image": "here:1", "state": {"terminated": terminated}}],
    }

    assert list(problems([ended])) == said


def test_a_pod_made_again_is_news() -> None:
    """The same name with another UID is another pod; an unknown one is an error."""
    known = Whereabouts()

    assert known.learn([pod("a")])
    assert not known.learn([pod("a")])
    again = pod("a")
    again["metadata"]["uid"] = "other"
    assert known.learn([again])
    assert known.seat(PodRef("x", "a")).uid == "other"
    with pytest.raises(ClusterError, match="no pod x/b"):
        known.seat(PodRef("x", "b"))


@pytest.mark.parametrize(
    ("addresses", "agrees"), [(["10.1.0.2"], True), ([], False), (["10.1.0.2", "10.1.0.9"], False)]
)
def test_slices_have_to_name_the_ready_pods(addresses: list[str], agrees: bool) -> None:  # a case
    """No more and no fewer addresses than those of ready pods that a Service selects."""
    service = {
        "metadata": {"namespace": "x", "name": "s"},
        "spec": {"selector": {"app": "a"}, "clusterIPs": ["10.96.0.9"]},
    }
    found = {
        "metadata": {"namespace": "x", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
    }
    pods = [pod("a", labels={"app": "a"}), pod("b", ready=False, labels={"app": "a"})]

    assert list(out_of_step([service], pods, [found])) == ([] if agrees else ["x/s"])


def test_a_runner_says_how_each_command_ended() -> None:
    """Exit code and output come back; no such command and no end in time have codes of shells."""
    done = carry_out(Run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10))

    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert carry_out(Run(["/no/such/program"], 10)).returncode == NOT_FOUND
    assert carry_out(Run(["sleep", "60"], 0.01)).returncode == TIMED_OUT


def test_a_runner_serves_until_the_other_end_hangs_up() -> None:
    """One line in, one line out, in order."""
    replies = io.BytesIO()

    serve(io.BytesIO(b'{"argv":["true"],"timeout":9}\n{"argv":["false"],"timeout":9}\n'), replies)

    codes = [line.partition(b",")[0] for line in replies.getvalue().splitlines()]
    assert codes == [b'{"returncode":0', b'{"returncode":1']


class Prober(ProberClient):
    """Answers at once, with its own name."""

    def __init__(self, name: str) -> None:
        """Have nobody to talk to."""
        self.name = name
        self.released: list[int] = []

    def probe(self, probes: Any, timeout: float = 0.25) -> list[Outcome]:
        """Return an outcome that says who was asked for what."""
        return [self._seen(Attempt(*one)) for one in probes]

    def hold(self, probes: Any, timeout: float = 0.25) -> list[tuple[Outcome, int]]:
        """Keep all but those to port 1."""
        wanted = [Attempt(*one) for one in probes]
        return [(self._seen(one), at if one.port > 1 else 0) for at, one in enumerate(wanted, 1)]

    def ask(self, held: Sequence[int], timeout: float = 0.25) -> list[Outcome]:
        """Return the numbers that were asked for."""
        return [Outcome(Verdict.OPEN, 0.0, f"{self.name} {number}") for number in held]

    def release(self, held: Sequence[int]) -> None:
        """Note what was released."""
        self.released += held

    def _seen(self, wanted: Attempt) -> Outcome:
        return Outcome(Verdict.OPEN, 0.0, f"{self.name} {wanted.netns} {wanted.port}")


@pytest.fixture
def probers() -> dict[str, Prober]:
    """Return two probers, by their namespaces' names."""
    return {name: Prober(name) for name in ("one", "two")}


@pytest.fixture
def probing(probers: dict[str, Prober]) -> Probing:
    """Return a cluster's probing: a pod's namespace is the name of its prober."""

    def door(place: Place) -> Door:
        assert isinstance(place, PodRef)
        return Door(probers[place.namespace], place.name)

    return Probing(door)


def ask(where: str, port: int) -> Probe:
    """Return a probe from a pod of a prober."""
    return Probe(PodRef(where, "pod"), "10.0.0.1", port)


def test_each_probe_goes_to_its_own_prober_and_keeps_its_place(probing: Probing) -> None:
    """Outcome i belongs to probe i, whoever was asked in between."""
    probes = [ask("one", 10), ask("two", 11), ask("one", 12), ask("two", 13)]

    said = [one.detail for one in probing.probe(probes, 0.1)]

    assert said == ["one pod 10", "two pod 11", "one pod 12", "two pod 13"]
    assert probing.probe([], 0.1) == []


def test_held_connections_are_asked_where_they_are_held(
    probing: Probing, probers: dict[str, Prober]
) -> None:
    """Numbers of two probers do not meet; what did not open, or was released, is an error."""
    held = probing.hold([ask("two", 10), ask("one", 1), ask("one", 10), ask("two", 11)], 0.1)

    said = [one.detail for one in probing.ask(held, 0.1)]
    assert said == ["two 1", "not held", "one 2", "two 2"]

    probing.release([*held, Held(ask("one", 1), Outcome(Verdict.DROPPED, 0.0))])
    assert (probers["one"].released, probers["two"].released) == ([2], [1, 2])
    assert {one.verdict for one in probing.ask(held, 0.1)} == {Verdict.ERROR}


class Starved(Prober):
    """Has an echo server that answers a datagram after ``late`` seconds, and all else likewise."""

    def __init__(self, late: float) -> None:
        super().__init__("server")
        self.late = late
        self.waits: list[float] = []

    def release(self, held: Sequence[int]) -> None:
        """Be late."""
        time.sleep(self.late)

    def probe(self, probes: Any, timeout: float = 0.25) -> list[Outcome]:
        """Say what a client hears within ``timeout``; a kernel's answers are never late."""
        self.waits.append(timeout)
        return [
            Outcome(Verdict.DROPPED, timeout)
            if Attempt(*one).protocol == Transport.UDP and timeout < self.late
            else Outcome(Verdict.OPEN, 0.0)
            for one in probes
        ]


@pytest.mark.parametrize(("late", "asked"), [(0.0, 1), (0.1, 2)])
def test_a_server_that_does_not_run_is_no_silence(late: float, asked: int) -> None:
    """Datagrams are asked again for longer where the servers' probers are late; TCP is not."""
    server = Starved(late)
    probing = Probing(lambda _: Door(server, "pod"), lambda: (server,))
    probes = [Probe(PodRef("x", "a"), "10.0.0.1", 80, one) for one in ("TCP", "UDP")]

    seen = probing.probe(probes, 0.05)

    assert [one.verdict for one in seen] == [Verdict.OPEN, Verdict.OPEN]
    assert len(server.waits) == asked
    assert probing.probe(probes[:1], 0.05)[0].verdict is Verdict.OPEN
    assert len(server.waits) == asked + 1


def test_a_pods_processes_are_its_containers_own(tmp_path: Path) -> None:
    """The sandbox's process is left alone, and so is everybody else's."""
    for pid, name, cgroup in (
        (7, "pause", f"0::/kubepods/pod{UID}/a"),
        (8, "enforcer", f"0::/kubepods/pod{UID}/b"),
        (9, "kubelet", "0::/system.slice/kubelet.service"),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "comm").write_text(f"{name}\n")
        (folder / "cgroup").write_text(cgroup)

    assert list(members(UID, tmp_path)) == [8]


def test_agents_are_on_the_nodes_that_a_run_uses() -> None:
    """A term a node, as a field takes one value; where none is named every node has one."""
    (_, some), (_, every) = manifests(IMAGE, ("one", "two")), manifests(IMAGE)

    (affinity,) = some["spec"]["template"]["spec"]["affinity"].values()
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [one["matchFields"][0]["values"] for one in terms] == [["one"], ["two"]]
    assert "affinity" not in every["spec"]["template"]["spec"]


def test_ctrl_c_does_not_end_who_is_talked_to() -> None:
    """A signal to our process group does not reach it: to tidy up on nodes still takes agents."""
    with talk(("sh", "-c", "ps -o pgid= -p $$; cat")) as way:
        group = int(way.makefile("r").readline())

    assert group != os.getpgrp()
