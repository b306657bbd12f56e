"""The run on a cluster: streams of probes, changes while they go on, and windows made of both."""

from __future__ import annotations

import bisect
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client as api
from kubernetes import config

from harness.clusters.base import Cluster, Manifest, PodRef, Probe, Verdict
from harness.enforcers.base import Enforcer
from harness.enforcers.daemonset import DaemonSet
from harness.errors import ClusterError
from harness.measure.windows import changes
from harness.measure.windows.arithmetic import Answer, Change, Void, Window, floor, window, wrong
from harness.measure.windows.changes import Toggle
from harness.measure.windows.record import Found, Never, Series
from harness.measure.windows.tape import Tape, until
from harness.prober.stream import Flow

EVENTS = 20
"""Events of each kind."""

_BURST, _BURST_SECONDS = 8, 0.02
"""At a starting pod: so many probes at once, and the silence that ends them."""

_PASSED = {Verdict.OPEN, Verdict.RESET, Verdict.REFUSED}
"""A reset of the pod's own shows that the packet reached it."""

Say = Callable[[str], None]
Event = Window | Void


@dataclass(frozen=True, slots=True)
class Bench:
    """A cluster with the server, its clients and an enforcer."""

    cluster: Cluster
    enforcer: Enforcer
    logs: Path
    events: int = EVENTS
    say: Say = lambda _: None

    def run(self) -> Found:
        """Deploy, install, and try every kind of change."""
        nodes = [node.name for node in self.cluster.nodes()]
        self.cluster.apply(changes.workload(nodes[0], nodes[-1]))
        self.cluster.wait_ready()
        series: list[Series] = []
        never: list[Never] = []
        with self._enforced():
            for toggle in changes.toggles():
                self.say(f"{toggle.closes}, {toggle.opens}: {self.events} events each")
                series += self._toggled(toggle)
            self.say(f"{self.events} changes that alter nothing: the floor")
            series += self._floor()
            self.say(f"{self.events} restarts, and as many pods that start")
            never += [*self._restarted(is_open=False), *self._restarted(is_open=True)]
            never += self._started(nodes[0])
        return Found(tuple(series), tuple(never))

    @contextlib.contextmanager
    def _enforced(self) -> Iterator[None]:
        try:
            self.enforcer.install(self.cluster, self.logs)
            self.enforcer.wait_ready()
            yield
        finally:
            self.enforcer.uninstall()

    @contextlib.contextmanager
    def _tapes(self, name: str, client: PodRef) -> Iterator[dict[Flow, Tape]]:
        target = f"{address_of(self.cluster, changes.SERVER)} {changes.PORT}"
        tapes = {
            flow: Tape.start(
                self.cluster, client, flow, target, self.logs / f"{name}-{flow.value}.txt"
            )
            for flow in Flow
        }
        try:
            yield tapes
        finally:
            for tape in tapes.values():
                tape.process.stop()

    @contextlib.contextmanager
    def _policies(self, policies: Sequence[Manifest]) -> Iterator[None]:
        self.cluster.apply(policies)
        try:
            yield
        finally:
            self.cluster.delete(policies)

    def _toggled(self, toggle: Toggle) -> Iterator[Series]:
        """Switch there and back; each way is a series of its own."""
        name = toggle.opens.replace(" ", "-").replace("→", "to").replace(",", "")
        done: list[Change] = []
        with self._policies(toggle.around), self._tapes(name, toggle.client) as tapes:
            toggle.close(self.cluster)
            begun = time.monotonic()
            for tape in tapes.values():
                tape.settles(begun, is_open=False)
            for _ in range(self.events):
                for opens, act in ((True, toggle.open), (False, toggle.close)):
                    change = _timed(opens, lambda act=act: act(self.cluster))  # type: ignore[misc]
                    for tape in tapes.values():
                        tape.settles(change.acknowledged, is_open=opens)
                    done.append(change)
            toggle.open(self.cluster)
            answers = {flow: tape.sorted() for flow, tape in tapes.items()}
        for opens, label in ((False, toggle.closes), (True, toggle.opens)):
            for flow, found in answers.items():
                pairs = zip(done, [*done[1:], None], strict=True)
                events = [_event(found, c, then) for c, then in pairs if c.opens is opens]
                yield Series.of(label, flow, events)

    def _floor(self) -> Iterator[Series]:
        done: list[Change] = []
        with self._tapes("floor", changes.CLIENT) as tapes:
            begun = time.monotonic()
            for tape in tapes.values():
                if not tape.settles(begun, is_open=True):
                    raise ClusterError("the client does not reach the server without a policy")
            for number in range(self.events):
                act = changes.irrelevant(number)
                done.append(_timed(True, lambda act=act: self.cluster.apply([act])))  # type: ignore[misc]  # noqa: FBT003  # it stays open
                for tape in tapes.values():
                    tape.settles(done[-1].acknowledged, is_open=True)
            answers = {flow: tape.sorted() for flow, tape in tapes.items()}
        for flow, found in answers.items():
            yield Series.of("nothing altered (floor)", flow, [floor(found, one) for one in done])

    def _restarted(self, *, is_open: bool) -> Iterator[Never]:
        if not isinstance(self.enforcer, DaemonSet):
            return
        label = f"killed and restarted, {'allowed' if is_open else 'denied'} all the while"
        policies = [] if is_open else [changes.deny()]
        name = f"restart-{'open' if is_open else 'denied'}"
        with self._policies(policies), self._tapes(name, changes.CLIENT) as tapes:
            begun = time.monotonic()
            for tape in tapes.values():
                tape.settles(begun, is_open=is_open)
            crashes = []
            for _ in range(self.events):
                crashes.append(time.monotonic())
                self.enforcer.crash()
                self.enforcer.wait_ready()
            end = time.monotonic()
            for tape in tapes.values():
                tape.settles(end, is_open=is_open)
            for flow, tape in tapes.items():
                answers = [one for one in tape.sorted() if one.at >= crashes[0]]
                bad = wrong(answers, Change(is_open, crashes[0], end))
                since = (one.at - crashes[bisect.bisect(crashes, one.at) - 1] for one in bad)
                latest = max(since, default=0.0)
                yield Never(label, flow, self.events, len(answers), len(bad), latest)

    def _started(self, node: str) -> Iterator[Never]:
        answers: list[Answer] = []
        latest = 0.0
        with self._policies([changes.deny()]):
            for number in range(self.events):
                ref, pod = changes.late(number, node)
                asked = time.monotonic()
                self.cluster.apply([pod])
                found = self._watch_start(ref)
                latest = max([latest, *(one.at - asked for one in found if one.open)])
                answers += found
                self.cluster.delete([pod])
        bad = sum(one.open for one in answers)
        label = "pod started, denied from the first packet on"
        yield Never(label, Flow.NEW, self.events, len(answers), bad, latest)

    def _watch_start(self, ref: PodRef) -> list[Answer]:
        """Probe a starting pod from its first address on until it is Ready, and a while longer."""
        if not until(lambda: bool(address_of(self.cluster, ref))):
            raise ClusterError(f"pod {ref} gets no address")
        probe = Probe(changes.CLIENT, address_of(self.cluster, ref), changes.PORT)
        answers: list[Answer] = []
        ready_at = None
        while ready_at is None or time.monotonic() - ready_at < 10 * _BURST_SECONDS:
            sent = time.monotonic()
            outcomes = self.cluster.probe([probe] * _BURST, _BURST_SECONDS)
            answers += [Answer(sent, one.verdict in _PASSED) for one in outcomes]
            if ready_at is None and is_ready(self.cluster, ref):
                ready_at = time.monotonic()
        return answers


def _timed(opens: bool, act: Callable[[], None]) -> Change:  # noqa: FBT001  # as in Change
    asked = time.monotonic()
    act()
    return Change(opens, asked, time.monotonic())


def _event(answers: Sequence[Answer], change: Change, following: Change | None) -> Event:
    end = following.asked if following else float("inf")
    around = [one for one in answers if change.asked - 1 < one.at < end]
    return window(around, change)


def _pod(cluster: Cluster, ref: PodRef) -> dict[str, Any]:
    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:  # type: ignore[no-untyped-call]
        core = api.CoreV1Api(connection)
        raw: Any = core.read_namespaced_pod(ref.name, ref.namespace, _preload_content=False)
        found: dict[str, Any] = json.loads(raw.data)
    return found


def address_of(cluster: Cluster, ref: PodRef) -> str:
    """Return a pod's address; empty while it has none."""
    return str(_pod(cluster, ref).get("status", {}).get("podIP", ""))


def is_ready(cluster: Cluster, ref: PodRef) -> bool:
    """Whether a pod says that it is Ready."""
    conditions = _pod(cluster, ref).get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
