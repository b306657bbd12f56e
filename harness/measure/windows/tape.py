"""The answers of one stream of probes, read from the file that it writes while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.clusters.base import Cluster, PodRef, Process
from harness.errors import ClusterError
from harness.measure.windows.arithmetic import SETTLED, Answer
from harness.prober.stream import WAIT, Flow

RATE = 250
"""Probes a second of each stream."""

PATIENCE = 20.0
"""Seconds that a stream may take to begin, and an enforcer to follow."""

_POLL = 0.01


@dataclass(slots=True)
class Tape:
    """What one stream has seen so far."""

    process: Process
    log: Path
    answers: list[Answer] = field(default_factory=list)
    _read: int = 0

    @classmethod
    def start(cls, cluster: Cluster, client: PodRef, flow: Flow, target: str, log: Path) -> Tape:
        """Start a stream in a pod; ``target`` is an address, then a port, apart by a space."""
        program = [sys.executable, "-m", "harness.prober.stream"]
        argv = [*program, flow.value, *target.split(), str(RATE)]
        return cls(cluster.spawn(client, argv, log), log)

    def read(self) -> None:
        """Take in what was written since the last time."""
        if not self.log.exists():
            return
        with self.log.open() as file:
            file.seek(self._read)
            for line in iter(file.readline, ""):
                if not line.endswith("\n"):
                    break
                self._read += len(line)
                self._take(line)

    def _take(self, line: str) -> None:
        sent, _, word = line.strip().partition(" ")
        if word not in {"open", "denied"}:
            raise ClusterError(f"a stream of probes says: {line.strip()} (see {self.log})")
        self.answers.append(Answer(float(sent), word == "open"))

    def sorted(self) -> list[Answer]:
        """Return all answers in the order of sending: silence is told later than an answer."""
        self.read()
        return sorted(self.answers, key=lambda one: one.at)

    def settles(self, since: float, *, is_open: bool) -> bool:
        """Wait until the answers since a moment are of one kind for good; false if they are not."""

        def steady() -> bool:
            self.read()
            new = sorted((one for one in self.answers[-400:] if one.at > since), key=_when)
            enough = len(new) >= 2 * SETTLED and time.monotonic() - since > 2 * WAIT
            return enough and all(one.open is is_open for one in new[-2 * SETTLED :])

        return until(steady)


def _when(answer: Answer) -> float:
    return answer.at


def until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition, :data:`PATIENCE` at most; return whether it came."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
