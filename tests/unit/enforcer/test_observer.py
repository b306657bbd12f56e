"""What the daemon says of its syncs."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from enforcer.health import Health
from enforcer.metrics import Metrics
from enforcer.model.changes import Kind, Put
from enforcer.model.net import IPNetwork
from enforcer.model.objects import Node
from enforcer.node import Synced
from enforcer.observer import Observer
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.options import UnknownPods
from enforcer.settings import Settings
from enforcer.wiring import Step

RANGE = (ip_network("10.1.0.0/24"),)


@pytest.mark.parametrize(
    ("setting", "networks", "denied", "warned"),
    [
        (UnknownPods.DENY, RANGE, 1, False),
        (UnknownPods.DENY, (), 1, True),
        (UnknownPods.ALLOW, RANGE, 0, False),
        (UnknownPods.ALLOW, (), 0, False),
    ],
)
def test_a_node_whose_unknown_pods_are_open_is_told(
    setting: UnknownPods,
    networks: tuple[IPNetwork, ...],
    denied: int,
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without spec.podCIDRs pods are known by their interfaces: one line says it, where asked."""
    metrics, cluster = Metrics(), Cluster()
    cluster.apply(Put(Node("n1", (), networks)))
    observer = Observer(Health(), metrics, Settings("n1", unknown_pods=setting))

    for _ in range(2):
        compiled = CompiledPolicy("n1", (), networks, frozenset())
        observer.synced(cluster, compiled, Synced(0, {}, repaired=False, problems=()))

    assert metrics.registry.get_sample_value("enforcer_unknown_pods_denied") == denied
    assert caplog.text.count("has no spec.podCIDRs") == warned


def test_whether_the_same_node_is_proved_is_a_metric() -> None:
    """0 before the first sync and wherever a bridge hides its packets."""
    metrics, cluster = Metrics(), Cluster()
    observer = Observer(Health(), metrics, Settings("n1"))
    compiled = CompiledPolicy("n1", (), RANGE, frozenset())
    values = [metrics.registry.get_sample_value("enforcer_same_node_proved")]

    for problems in ((), ("bridge b0 hides",), ()):
        observer.synced(cluster, compiled, Synced(0, {}, repaired=False, problems=problems))
        values.append(metrics.registry.get_sample_value("enforcer_same_node_proved"))

    assert values == [0, 1, 0, 1]


def test_the_steps_of_the_ladder_are_a_metric() -> None:
    """Each step has its count, 0 too: what has left a step is not counted there any more."""
    metrics, cluster = Metrics(), Cluster()
    observer = Observer(Health(), metrics, Settings("n1"))
    compiled = CompiledPolicy("n1", (), RANGE, frozenset())
    found = []

    for steps in ({Step.ROUTED: 5, Step.NONE: 1}, {Step.ROUTED: 6, Step.TURN: 1}):
        synced = Synced(0, {}, repaired=False, problems=(), steps=steps)
        observer.synced(cluster, compiled, synced)
        value = metrics.registry.get_sample_value
        found.append([value("enforcer_same_node", {"step": step.value}) for step in Step])

    assert found == [[5, 0, 0, 1], [6, 0, 1, 0]]


def test_how_long_a_watch_is_silent_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kind by itself, in seconds, growing until something is heard."""
    now = [100.0]
    monkeypatch.setattr("enforcer.observer.time.monotonic", lambda: now[0])
    metrics = Metrics()
    observer = Observer(Health(), metrics, Settings("n1"))

    now[0] = 130.0
    observer.heard(Kind.PODS)
    now[0] = 131.0

    value = metrics.registry.get_sample_value
    assert value("enforcer_watch_silence_seconds", {"kind": "pods"}) == 1
    assert value("enforcer_watch_silence_seconds", {"kind": "nodes"}) == 31


def test_a_kind_that_is_not_followed_for_long_is_a_reason_not_to_be_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A short outage is none; the time runs from the first failure and ends with a watch."""
    now = [100.0]
    monkeypatch.setattr("enforcer.observer.time.monotonic", lambda: now[0])
    health, metrics = Health(waiting_for=[]), Metrics()
    observer = Observer(health, metrics, Settings("n1"))
    ready = []

    for second, problem in ((0, ""), (10, "refused"), (40, "forbidden"), (69, ""), (70, "away")):
        now[0] = 100.0 + second
        observer.followed(Kind.PODS, problem)
        ready.append(health.ready)
    for second in (129, 130):
        now[0] = 100.0 + second
        ready.append(health.ready)

    assert ready == [True, True, True, True, True, True, False]
    assert health.reasons == ["a watch of pods, for 60 s now: away"]
    assert metrics.registry.get_sample_value("enforcer_ready") == 0
    observer.followed(Kind.PODS, "")
    assert metrics.registry.get_sample_value("enforcer_ready") == 1
