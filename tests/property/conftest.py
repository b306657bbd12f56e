"""A fleet for the tests with real packets, built once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from enforcer.ruleset.options import LowerOptions
from tests.property.fleet.packets import Prober, all_probes
from tests.property.fleet.topology import Fleet
from tests.property.fleet.trial import Trial
from tests.property.story import Story


@pytest.fixture(scope="session")
def prober() -> Iterator[tuple[Fleet, Prober]]:
    """Return a fleet and its sockets."""
    with Fleet() as fleet:
        made = Prober(fleet, all_probes())
        yield fleet, made
        made.close()


@pytest.fixture
def pinned(prober: tuple[Fleet, Prober]) -> Iterator[tuple[Fleet, Prober]]:
    """Return the fleet, warm, and stay on one CPU while a test lasts."""
    before = os.sched_getaffinity(0)
    cpus = sorted(before)
    os.sched_setaffinity(0, {cpus[os.getpid() % len(cpus)]})
    prober[1].warm_up()
    yield prober
    os.sched_setaffinity(0, before)


@pytest.fixture
def story(pinned: tuple[Fleet, Prober]) -> Iterator[Story]:
    """Return a cluster of five pods without a policy."""
    fleet, prober = pinned
    trial = Trial(fleet, prober, LowerOptions())
    told = Story(trial, {probe: index for index, probe in enumerate(prober.probes)})
    told()
    yield told
    trial.compare_with_a_new_daemon()
    trial.end()
