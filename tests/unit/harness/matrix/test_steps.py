"""Cases of several steps, profiles, and what is told of a cell before its verdict."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.clusters.base import Held, Outcome, PodRef, Verdict
from harness.matrix.axes import AddressKind, Placement, State
from harness.matrix.compare import Mark
from harness.matrix.engine import Lab, Wishes
from harness.matrix.model import Case
from harness.matrix.profiles import Deviation, Manner, Profile
from harness.matrix.recording import Recorder
from harness.matrix.scenario import Scenario, load_scenario
from harness.matrix.steps import CaseRun
from harness.matrix.watching import Patience

GROUP = """\
title: A group of this test's
workload: workload.yaml
cases:
  - id: NP-TEST-001
    rule: A label makes a peer, a new pod is one too, and a held connection is cut.
    steps:
      - apply:
          - apiVersion: networking.k8s.io/v1
            kind: NetworkPolicy
            metadata: {namespace: nsa, name: p}
            spec:
              podSelector: {}
              ingress: [{from: [{podSelector: {matchLabels: {role: f}}, namespaceSelector: {}}]}]
      - label: [{pod: nsb/b1, set: {role: f}}]
      - {hold: true, label: [{pod: nsb/b1, set: {role: ''}}]}
      - start: [{namespace: nsb, name: n1, node: 1, labels: {role: f}}]
      - finish: [nsb/b2]
      - restart: enforcer
      - create: [{name: new, labels: {team: c}}]
        start: [{namespace: new, name: c1, node: 1, labels: {role: f}}]
"""
RETARGET = """\
title: A group of this test's
workload: workload.yaml
cases:
  - id: NP-TEST-002
    rule: A Service leads elsewhere.
    steps:
      - apply:
          - apiVersion: networking.k8s.io/v1
            kind: NetworkPolicy
            metadata: {namespace: nsa, name: p}
            spec:
              podSelector: {}
              ingress: [{ports: [{port: 80}]}]
      - retarget: [{service: nsa/a1, targets: {80: 6379, 6379: 80}}]
"""
QUICK = Patience(probe=0.01, glance=0.01, guard=0.0, stable=0.0, limit=0.0, pause=0.0)


@pytest.fixture
def group(tmp_path: Path, study: Scenario) -> Scenario:
    """Return a group of one case on the study's workload."""
    (tmp_path / "workload.yaml").write_text(study.workload_path.read_text())
    (tmp_path / "group.yaml").write_text(GROUP)
    return load_scenario(tmp_path / "group.yaml")


@pytest.fixture
def run(
    group: Scenario, fake_cluster: Any, fake_enforcer: Any, tmp_path: Path
) -> Callable[..., CaseRun]:
    """Return what runs the group's case, by a profile and with a cluster of the fake's."""

    def run(profile: Profile | None = None, cluster: Any = None) -> CaseRun:
        wishes = Wishes(
            "fake", profile=profile or Profile(), patience=QUICK, make_api=fake_cluster.api_of
        )
        lab = Lab(cluster or fake_cluster(), fake_enforcer(), group, wishes)
        with lab.ready(tmp_path):
            case: Case = group.cases[0]
            return lab.run(case)

    return run


def test_each_step_is_followed_by_the_whole_matrix(run: Callable[..., CaseRun]) -> None:
    """Labels, pods and namespaces that come, and a restart are seen; then all is as before."""
    done = run()

    assert done.right
    assert len(done.steps) == 7
    admitted = [
        {f.cell.client.name for f in step.applied.findings
         if f.cell.server.name == "nsa/a3" and f.outcome.verdict is Verdict.OPEN
         and f.cell.placement is Placement.OTHER_NODE}
        for step in done.steps
    ]  # fmt: skip
    assert admitted == [
        set(),
        {"nsb/b1"},
        set(),
        {"nsb/n1"},
        {"nsb/n1"},
        {"nsb/n1"},
        {"nsb/n1", "new/c1"},
    ]
    gone = {f.cell.client.name for f in done.steps[4].findings}
    assert "nsb/b2" not in gone
    assert "nsb/b2" in {f.cell.client.name for f in done.removed.findings}


def test_held_connections_are_judged(run: Callable[..., CaseRun]) -> None:
    """Connections that were open before the change are asked after it: cut, or alive."""
    step = run().steps[2]

    cut = {f.cell.client.name for f in step.established if f.outcome.verdict is not Verdict.OPEN}
    assert cut == {"nsb/b1"}
    assert len(step.established) > 100
    nodes = {Placement.POD_TO_OWN_HOST, Placement.POD_TO_REMOTE_HOST}  # the study serves none
    assert {f.cell.placement for f in step.established} == set(Placement) - nodes


@pytest.mark.parametrize(("silent", "alive"), [(0, True), (1, True), (3, True), (99, False)])
def test_a_held_connection_is_asked_again_before_it_is_taken_for_cut(
    run: Callable[..., CaseRun], fake_cluster: Any, silent: int, *, alive: bool
) -> None:
    """Who should live and is silent is asked some times over, and tells what it showed before."""

    class Late(fake_cluster):  # type: ignore[misc]
        asked: ClassVar[list[int]] = []

        def ask(self, held: Sequence[Held], timeout: float = 0.25) -> list[Outcome]:
            self.asked.append(len(held))
            if len(self.asked) <= silent:
                return [Outcome(Verdict.DROPPED, timeout) for _ in held]
            found: list[Outcome] = super().ask(held, timeout)
            return found

    held = run(None, Late()).steps[2].established

    assert all(one.right for one in held) == alive
    stories = [one.story for one in held if one.story]
    assert bool(stories) == (alive and silent > 0)
    assert {verdict for story in stories for _, verdict in story} <= {Verdict.DROPPED}
    if not alive:  # who is cut by right is asked once, the others three times more
        assert Late.asked[0] > Late.asked[1] == Late.asked[2] == Late.asked[3]
        assert len(Late.asked) == 4


def test_a_start_is_the_started_pods_own(run: Callable[..., CaseRun]) -> None:
    """Of the matrix after a step that starts a pod only that pod's connections are "at start"."""
    case = run()
    recorder = Recorder()
    recorder.add(case)
    started = next(one for one in recorder.steps if one.state is State.AT_START)
    assert started.started == ("nsb/n1",)
    assert State.AT_START.between(("nsb/n1",), "nsb/n1", "nsa/a1") is State.AT_START
    assert State.AT_START.between(("nsb/n1",), "nsb/b1", "nsa/a1") is State.NEW
    assert State.AFTER_RESTART.between(("nsb/n1",), "nsb/b1") is State.AFTER_RESTART


def test_a_service_that_leads_to_another_port(
    study: Scenario, fake_cluster: Any, fake_enforcer: Any, tmp_path: Path
) -> None:
    """Its cells are judged by the pod's own port, before the change, after it, and at the end."""
    (tmp_path / "workload.yaml").write_text(study.workload_path.read_text())
    (tmp_path / "retarget.yaml").write_text(RETARGET)
    retarget = load_scenario(tmp_path / "retarget.yaml")
    wishes = Wishes("fake", patience=QUICK, make_api=fake_cluster.api_of)
    lab = Lab(fake_cluster(), fake_enforcer(), retarget, wishes)
    with lab.ready(tmp_path):
        done = lab.run(retarget.cases[0])

    assert done.right
    led = [
        {
            (f.cell.probe.port, f.cell.port)
            for f in step.applied.findings
            if f.cell.server.name == "nsa/a1" and f.cell.kind is AddressKind.CLUSTER_IP
        }
        for step in done.steps
    ]
    assert (80, 80) in led[0]
    assert (80, 6379) in led[1]
    assert (80, 80) not in led[1]


def test_the_manner_of_denying_is_a_finding(run: Callable[..., CaseRun]) -> None:
    """Who drops where its profile says reject is right in what it does, and told all the same."""
    done = run(Profile(denies=Manner.REJECT))
    marks = {finding.mark for finding in done.steps[0].findings}

    assert {Mark.RIGHT, Mark.MANNER} == marks


def test_declared_deviations_are_known(run: Callable[..., CaseRun], fake_cluster: Any) -> None:
    """What the profile declares is told, but fails nothing."""
    leaky = fake_cluster(lambda packet: packet.allowed or packet.near)
    declared = Deviation("near", "no hook", "link", placements=(Placement.SAME_NODE,))
    done = run(Profile(deviations=(declared,)), leaky)
    marks = {f.mark for f in done.steps[0].findings if f.cell.placement is Placement.SAME_NODE}

    assert Mark.KNOWN in marks
    assert Mark.LEAKED not in marks


def test_what_was_wrong_first_is_kept(run: Callable[..., CaseRun], fake_cluster: Any) -> None:
    """A slow enforcer is right in the end, and the cell tells what it showed before."""
    asked = {"times": 0}

    def slow(packet: Any) -> bool:
        late = packet.probe.address.startswith("10.2.") and not packet.allowed
        asked["times"] += late
        return bool(packet.allowed or (late and asked["times"] < 40))

    patient = dataclasses.replace(QUICK, stable=5.0, limit=10.0)
    cluster = fake_cluster(slow)
    done = _run_with(run, patient, cluster)
    first = done.steps[0]

    assert first.right
    assert first.applied.seconds is not None
    stories = [finding.story for finding in first.applied.findings if finding.story]
    assert stories
    assert {verdict for story in stories for _, verdict in story} == {Verdict.OPEN}


def test_an_enforcer_that_is_late_is_not_wrong(
    group: Scenario, fake_cluster: Any, fake_enforcer: Any, tmp_path: Path
) -> None:
    """However fast it was before: a change that takes seconds is waited for, and its time told."""
    seconds = 2.0
    since: list[float] = []
    slow: list[bool] = []

    def late(packet: Any) -> bool:
        """Let one pod's connections to a namespace through for a while after they are denied."""
        if packet.allowed or not slow or packet.source != PodRef("nsb", "b1"):
            return bool(packet.allowed)
        since.append(time.monotonic())
        return time.monotonic() - since[0] < seconds

    patience = dataclasses.replace(QUICK, stable=4 * seconds, limit=10 * seconds)
    wishes = Wishes("fake", patience=patience, make_api=fake_cluster.api_of)
    lab = Lab(fake_cluster(late), fake_enforcer(), group, wishes)
    with lab.ready(tmp_path):
        fast = lab.run(group.cases[0])
        slow.append(True)
        done = lab.run(group.cases[0])

    assert fast.right
    assert done.right
    assert max(step.applied.seconds or 0.0 for step in done.steps) >= seconds
    stories = [finding.story for finding in done.findings if finding.story]
    assert stories
    assert {verdict for story in stories for _, verdict in story} == {Verdict.OPEN}


def _run_with(run: Callable[..., CaseRun], patience: Patience, cluster: Any) -> CaseRun:
    """Run with another patience than the fixture's."""
    original = globals()["QUICK"]
    globals()["QUICK"] = patience
    try:
        return run(None, cluster)
    finally:
        globals()["QUICK"] = original


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("restart: enforcer", "restart: node", "'node' is none of enforcer"),
        ("finish: [nsb/b2]", "finish: [nsb/b9]", "there is no pod nsb/b9"),
        ("name: new", "name: nsd", "there is no namespace new for pod new/c1"),
        ("finish: [nsb/b2]", "delete: [nsa/q]", "deletes nsa/q, which no step before has applied"),
        ("[{pod: nsb/b1, set: {role: f}}]", "[{set: {role: f}}]", "say either pod or namespace"),
        ("rule: A label", "policies: []\n    expect: [{verdict: open, because: x}]\n    rule: A",
         "has steps: policies and expect belong into them"),
    ],
)  # fmt: skip
def test_mistakes_of_steps_are_told(
    tmp_path: Path, study: Scenario, old: str, new: str, said: str
) -> None:
    """A step about somebody who is not there is a mistake, not a step."""
    (tmp_path / "workload.yaml").write_text(study.workload_path.read_text())
    (tmp_path / "group.yaml").write_text(GROUP.replace(old, new, 1))

    with pytest.raises(Exception, match=said):
        load_scenario(tmp_path / "group.yaml")
