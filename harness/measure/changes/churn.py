"""Churn: interfering pods are replaced, so many a second, while something else is measured."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.clusters.base import Cluster, Manifest, PodRef
from harness.clusters.pods import ref_of
from harness.measure.windows.api import PodWatch, watching
from harness.workload import study as workload

RATE = 10
"""Pods replaced a second."""

MOST_STARTING = 2 * RATE
"""New pods that are not Ready yet, at most: the churn waits where the nodes do not keep up."""

_PAUSE = 0.02


@dataclass(slots=True)
class Turnover:
    """What a churn has come to."""

    begun: float
    replaced: int = 0
    last: float = 0.0
    error: Exception | None = None

    @property
    def rate(self) -> float:
        """How many were replaced a second, up to the last one."""
        return self.replaced / (self.last - self.begun) if self.replaced else 0.0


@dataclass(slots=True)
class Churn:
    """The crowd's pods, the oldest first: as many at any time, however many were replaced."""

    cluster: Cluster
    crowd: workload.Crowd
    _pods: deque[Manifest] = field(default_factory=deque)
    _turns: Iterator[int] = field(default_factory=itertools.count)

    def grown(self, have: int, want: int) -> None:
        """Know the pods that a growth has made."""
        made = workload.growth(self.crowd, have, want)
        self._pods.extend(pod for pod in made if pod["kind"] == "Pod")

    @contextlib.contextmanager
    def going_on(self) -> Iterator[Turnover]:
        """Replace pods while this is entered; raise, on leaving, what it failed with."""
        over, found = threading.Event(), Turnover(time.monotonic())
        with watching(self.cluster, workload.NAMESPACE) as seen:
            thread = threading.Thread(target=self._run, args=(over, found, seen), name="churn")
            thread.start()
            try:
                yield found
            finally:
                over.set()
                thread.join()
        if found.error is not None:
            raise found.error

    def _run(self, over: threading.Event, found: Turnover, seen: PodWatch) -> None:
        due, starting = found.begun, set[PodRef]()
        try:
            while not over.wait(max(_PAUSE, due - time.monotonic())):
                starting = {ref for ref in starting if not seen.is_ready(ref)}
                if len(starting) < MOST_STARTING and time.monotonic() >= due:
                    new, old = self._replace(next(self._turns))
                    starting = (starting | {new}) - {old}
                    found.replaced, found.last = found.replaced + 1, time.monotonic()
                    due = max(due, found.last - 1) + 1 / RATE
        except Exception as error:  # noqa: BLE001  # whatever it is, it is raised on leaving
            found.error = error

    def _replace(self, turn: int) -> tuple[PodRef, PodRef]:
        """Make a pod of the Service whose turn it is, and let the oldest go; return both."""
        number = turn % self.crowd.services
        new = workload.pod(workload.service_name(number), 0, self.crowd.node_of(number))
        new["metadata"]["name"] += f"-again-{turn}"
        self.cluster.apply([new])
        self._pods.append(new)
        old = self._pods.popleft()
        self.cluster.delete([old])
        return ref_of(new), ref_of(old)
