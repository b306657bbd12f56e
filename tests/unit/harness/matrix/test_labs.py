"""The labs of a run: which is made when, and that none is left."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ClusterError
from harness.matrix.axes import Wiring
from harness.matrix.environments import Environment
from harness.matrix.labs import GoOn, Labs, Ready, Seat

PATIENCE = 30.0
"""Seconds; nothing here takes a tenth of one unless it is broken."""

ROUTED, BRIDGED, BRIDGES = ORDER = tuple(
    Seat(Environment(wiring), Path("cases.yaml"))
    for wiring in (Wiring.ROUTED, Wiring.BRIDGED, Wiring.BRIDGES)
)


class Site:
    """Makes labs of nothing, and keeps book of which are up."""

    def __init__(self) -> None:
        self.up: set[Seat] = set()
        self.made = {seat: threading.Event() for seat in ORDER}
        self.ended = {seat: threading.Event() for seat in ORDER}
        self.endless: set[Seat] = set()
        self.fail: set[Seat] = set()

    def make(self, seat: Seat, go_on: GoOn) -> Ready:
        deadline = time.monotonic() + PATIENCE
        while seat in self.endless and time.monotonic() < deadline:
            go_on()
        if seat in self.fail:
            raise ClusterError(f"no {seat.environment.name} cluster")
        self.up.add(seat)
        stack = contextlib.ExitStack()
        stack.callback(self._end, seat)
        self.made[seat].set()
        nothing: Any = None
        return Ready(nothing, {"at": seat}, {}, stack)

    def _end(self, seat: Seat) -> None:
        self.up.remove(seat)
        self.ended[seat].set()


@pytest.fixture
def site() -> Site:
    """Return where labs are made."""
    return Site()


@pytest.fixture
def labs(site: Site) -> Iterator[Labs]:
    """Return the labs of a run in which two fit."""
    made = Labs(site.make, ORDER, ahead=True)
    yield made
    made.close()
    assert not site.up


def test_the_next_is_made_while_one_is_in_use(site: Site, labs: Labs) -> None:
    """Whoever comes to the next finds it ready, and the one before it goes."""
    assert labs.at(ROUTED).cluster["at"] is ROUTED
    assert site.made[BRIDGED].wait(PATIENCE)
    assert not site.made[BRIDGES].is_set()

    assert labs.at(BRIDGED).cluster["at"] is BRIDGED
    assert site.ended[ROUTED].wait(PATIENCE)
    assert site.made[BRIDGES].wait(PATIENCE)
    assert site.up == {BRIDGED, BRIDGES}


def test_one_alone_where_two_do_not_fit(site: Site) -> None:
    """A lab is made when it is asked for, once the one before it is gone."""
    labs = Labs(site.make, ORDER, ahead=False)
    seen = []
    for seat in ORDER:
        labs.at(seat)
        seen.append(set(site.up))
    labs.close()

    assert seen == [{seat} for seat in ORDER]
    assert not site.up


def test_what_went_wrong_is_told_when_the_lab_is_asked_for(site: Site, labs: Labs) -> None:
    """The cases of the lab before it are judged to their end."""
    site.fail = {BRIDGED}
    labs.at(ROUTED)

    with pytest.raises(ClusterError, match="no bridged cluster"):
        labs.at(BRIDGED)


def test_a_lab_that_nobody_comes_to_is_taken_down(site: Site, labs: Labs) -> None:
    """Who jumps over one, as -k and -x may, leaves nothing behind."""
    labs.at(ROUTED)
    assert site.made[BRIDGED].wait(PATIENCE)

    labs.at(BRIDGES)
    assert site.ended[BRIDGED].wait(PATIENCE)
    assert site.up == {BRIDGES}


def test_a_run_that_ends_waits_for_no_lab_to_become_ready(site: Site) -> None:
    """Ctrl-C while the next lab is made: what there is of it goes, and it gets no further."""
    site.endless = {BRIDGED}
    labs = Labs(site.make, ORDER, ahead=True)
    labs.at(ROUTED)

    labs.close()

    assert not site.made[BRIDGED].is_set()
    assert not site.up
