"""A switch counts only when a probe has proved it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.clusters.base import Manifest
from harness.enforcers.base import State
from harness.errors import ClusterError, EnforcerFailed
from harness.measure import switch as switching
from harness.measure.plan import Arm
from harness.measure.switch import Switch, Witness


@pytest.fixture
def switch(bed: Any, monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Return a switch whose witness is one pod, and which has little patience."""
    monkeypatch.setattr(switching, "PATIENCE", 0.1)
    bed.cluster.up = True
    pod: Manifest = {"kind": "Pod", "metadata": {"name": "measured-0"}}
    bed.cluster.apply([pod])
    witness = Witness("14.215.0.10", "14.216.0.10", tuple(bed.cluster.pods.values()), 80)
    return Switch(bed.cluster, bed.enforcer, witness)


def test_on_drops_the_denied_client_and_off_lets_it_through(switch: Switch) -> None:
    """Both arms can be put in force, one after the other."""
    switch.to(Arm.ON)
    assert switch.enforcer.state() is State.ON

    switch.to(Arm.OFF)
    assert switch.enforcer.state() is State.OFF


def test_a_switch_that_does_nothing_is_an_error_that_says_what_was_seen(switch: Switch) -> None:
    """An enforcer whose switch is stuck ends the run, with the probe that shows it."""
    switch.enforcer.stuck = True  # type: ignore[attr-defined]

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
