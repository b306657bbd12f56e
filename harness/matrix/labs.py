"""The labs of a run, one in use at a time: while its cases run, the next one is made.

To make a cluster is mostly to wait, and so is a step, which waits for silence. What ends one lab
and makes the next is therefore done behind the one in use, in one thread, so that two cores have
enough for both. What goes wrong there is told when that lab is asked for.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import Interrupted
from harness.matrix.engine import Lab
from harness.matrix.environments import Environment


@dataclass(frozen=True, slots=True)
class Seat:
    """Where cases run: a kind of cluster, and the file of the workload that is deployed on it."""

    environment: Environment
    workload: Path


@dataclass(frozen=True, slots=True)
class Ready:
    """A lab that is ready for cases, what it was made of, and the stack that takes it down."""

    lab: Lab
    cluster: Mapping[str, Any]
    enforcer: Mapping[str, Any]
    stack: contextlib.ExitStack


GoOn = Callable[[], None]
"""Asked between two parts of making a lab; raises Interrupted where nobody wants it any more."""
Make = Callable[[Seat, GoOn], Ready]


class Labs:
    """Makes labs in the order in which they will be wanted, and takes them down again."""

    def __init__(self, make: Make, order: Sequence[Seat], *, ahead: bool) -> None:
        """Make nothing yet. Without ``ahead``, a lab is made when it is asked for, and alone."""
        self._make = make
        self._order = list(order)
        self._ahead = ahead
        self._behind = ThreadPoolExecutor(1, "labs")
        self._closing = threading.Event()
        self._used: tuple[Seat, Ready] | None = None
        self._next: tuple[Seat, Future[Ready]] | None = None
        self._ends: list[Future[None]] = []

    def at(self, seat: Seat) -> Ready:
        """Return the lab of a seat, once it is ready; the one in use before is taken down."""
        if self._used is None or self._used[0] != seat:
            self._leave()
            self._used = seat, self._take(seat)
            self._look_ahead(seat)
        return self._used[1]

    def leave(self) -> None:
        """Begin to take down what is up: no lab is wanted any more. Idempotent."""
        self._closing.set()
        self._leave()

    def close(self) -> None:
        """Take down what is up, and wait until it is gone. Idempotent."""
        self.leave()
        self._drop_next()
        self._behind.shutdown()
        ends, self._ends = self._ends, []
        for end in ends:
            end.result()

    def _leave(self) -> None:
        used, self._used = self._used, None
        if used is None:
            return
        if self._ahead:
            self._ends.append(self._behind.submit(used[1].stack.close))
        else:
            used[1].stack.close()

    def _take(self, seat: Seat) -> Ready:
        if self._next is None or self._next[0] != seat:
            self._drop_next()
            return self._make(seat, self._go_on)
        ready = self._next[1].result()
        self._next = None
        return ready

    def _look_ahead(self, seat: Seat) -> None:
        """Begin with the lab after this one."""
        at = self._order.index(seat) + 1 if seat in self._order else len(self._order)
        if self._ahead and at < len(self._order):
            wanted = self._order[at]
            self._next = wanted, self._behind.submit(self._make, wanted, self._go_on)

    def _drop_next(self) -> None:
        """Take the lab down that was made for nothing; what went wrong with it is of no account."""
        dropped, self._next = self._next, None
        if dropped is None or dropped[1].cancel():
            return
        if dropped[1].exception() is None:
            self._ends.append(self._behind.submit(dropped[1].result().stack.close))

    def _go_on(self) -> None:
        if self._closing.is_set():
            raise Interrupted("the run has ended")
