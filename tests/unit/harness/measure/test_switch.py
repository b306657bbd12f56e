"""A switch counts only when a probe has proved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import Manifest
from harness.enforcers.base import State
from harness.enforcers.present import ByPolicy
from harness.errors import ClusterError, EnforcerFailed
from harness.measure import switch as switching
from harness.measure import tracking
from harness.measure.clients import OUTSIDE
from harness.measure.plan import Arm
from harness.measure.switch import Switch, Witness


@pytest.fixture
def switch(bed: Any, monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Return a switch whose witness is one pod, and which has little patience."""
    monkeypatch.setattr(switching, "PATIENCE", 0.1)
    bed.cluster.up = True
    pod: Manifest = {"kind": "Pod", "metadata": {"name": "measured-0"}}
    bed.cluster.apply([pod])
    service: Manifest = {"kind": "Service", "metadata": {"name": "measured"}}
    policy: Manifest = {"kind": "NetworkPolicy", "metadata": {"name": "policy"}}
    bed.cluster.apply([service, policy])
    addresses = (bed.cluster.services["measured"], *bed.cluster.pods.values())
    witness = Witness.of(OUTSIDE, addresses, 80, ("node-1",))
    return Switch(bed.cluster, {bed.enforcer.name: bed.enforcer}, witness, [policy])


@pytest.fixture
def fake(switch: Switch) -> Any:
    """Return its enforcer, installed."""
    (only,) = switch.enforcers.values()
    switch.install(only.name, Path("/dev/null"), ())
    return only


def test_on_drops_the_denied_client_and_off_lets_it_through(switch: Switch, fake: Any) -> None:
    """Both arms can be put in force, one after the other."""
    switch.to(Arm.ON)
    assert fake.state() is State.ON

    switch.to(Arm.OFF)
    assert fake.state() is State.OFF


@pytest.mark.parametrize("first", Arm)
@pytest.mark.parametrize("then", Arm)
def test_every_arm_follows_every_other(switch: Switch, fake: Any, first: Arm, then: Arm) -> None:
    """Whatever was in force, the next arm is proved, and nothing of the last one stays."""
    switch.to(first)
    switch.to(then)

    cluster: Any = switch.cluster
    assert cluster.untracked is (then is Arm.BARE)
    assert cluster.policy is (then is not Arm.IDLE)
    assert fake.state() is (State.OFF if then in {Arm.OFF, Arm.BARE} else State.ON)


@pytest.mark.parametrize("arms", [(Arm.ON, Arm.OFF), (Arm.OFF, Arm.ON), (Arm.OFF, Arm.OFF)])
def test_what_is_present_is_switched_by_policy(switch: Switch, arms: tuple[Arm, Arm]) -> None:
    """Off is without the policy; who enforces is not ours, and acts on all the while."""
    cluster: Any = switch.cluster
    (name, enforcing) = next(iter(switch.enforcers.items()))
    enforcing.enable()
    switch.enforcers = {name: ByPolicy(cluster, switch.policies)}
    switch.guard()
    assert not cluster.policy

    for arm in arms:
        switch.to(arm)
        assert cluster.policy is (arm is Arm.ON)
        assert enforcing.state() is State.ON


def test_with_rules_alone_the_daemon_is_stopped(switch: Switch, fake: Any) -> None:
    """The rules deny while the daemon is held in its tracks."""
    switch.to(Arm.RULES)

    assert fake.calls[-1] == "hold"


def test_a_service_that_still_answers_is_not_bare(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where conntrack goes on, the Service is reached: that is no bare arm."""
    monkeypatch.setattr(tracking, "stop", lambda *_: None)

    with pytest.raises(EnforcerFailed, match=r"switched bare, .* is open, not dropped"):
        switch.to(Arm.BARE)


def test_nothing_of_ours_stays_when_a_run_ends_bare(switch: Switch) -> None:
    """Connection tracking goes on, whichever arm was the last."""
    switch.to(Arm.BARE)

    switch.dismiss()

    assert not switch.cluster.untracked  # type: ignore[attr-defined]


def test_a_switch_that_does_nothing_is_an_error_that_says_what_was_seen(
    switch: Switch, fake: Any
) -> None:
    """An enforcer whose switch is stuck ends the run, with the probe that shows it."""
    fake.stuck = True

    with pytest.raises(
        EnforcerFailed, match=r"switched on, .* outside/14\.216\.0\.10 .* is open, not dropped"
    ):
        switch.to(Arm.ON)


def test_the_guard_passes_where_nothing_enforces(switch: Switch) -> None:
    """Without any enforcer everything is open."""
    switch.guard()


def test_the_guard_finds_another_enforcer(switch: Switch) -> None:
    """A cluster on which something else enforces cannot be measured."""
    switch.cluster.foreign_denials = True  # type: ignore[attr-defined]

    with pytest.raises(ClusterError, match="another enforcer is active"):
        switch.guard()
