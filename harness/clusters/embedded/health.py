"""What follows from probes: containers that have not started, are restarted, or are not ready.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from harness.clusters.embedded.addresses import namespace_of_node
from harness.clusters.embedded.pods import Pod
from harness.clusters.embedded.probes import (
    HealthProbe,
    Prober,
    Purpose,
    Target,
    complaint,
    probes_of,
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a container, from one start of it to its end."""

    pod: Pod
    number: int
    restarts: int

    @classmethod
    def of(cls, pod: Pod, number: int) -> Run:
        """Return the run that a container is in now."""
        return cls(pod, number, pod.restarts.get(number, 0))

    def lasts(self) -> bool:
        """Whether it is still this run, and its pod has not been deleted."""
        pod, number = self.pod, self.number
        same = number not in pod.exits and pod.restarts.get(number, 0) == self.restarts
        return same and not pod.doomed and pod.runs(number)

    @property
    def target(self) -> Target:
        """Where its probes go."""
        pod = self.pod
        node = namespace_of_node(pod.node.name)
        return Target(pod.netns, node, str(pod.seat.host.address))

    @property
    def name(self) -> str:
        """``namespace/pod: container``."""
        return f"{self.pod.key}: {self.pod.containers[self.number]['name']}"


@dataclass(frozen=True, slots=True)
class Health:
    """Probes every run of every container, and acts on what it finds; in the event loop."""

    prober: Prober
    tell: Callable[[Pod], Awaitable[None]]
    """Writes a pod's status."""
    kill: Callable[[Run, HealthProbe], None]
    """Has a container end because of a probe."""

    def expect(self, pod: Pod, number: int) -> Run:
        """Note of a container that begins what its probes have to show before it is ready."""
        probes = probes_of(pod.object, pod.containers[number])
        _put(pod.unstarted, number, holds=Purpose.STARTUP in probes)
        _put(pod.unready, number, holds=not probes.keys().isdisjoint(_GATES))
        if lack := complaint(probes):
            pod.unprobed = f"{pod.containers[number]['name']}: {lack}"
            pod.unready.add(number)
        return Run.of(pod, number)

    async def attend(self, run: Run) -> None:
        """Probe a run until it ends: until it has started, then for life and readiness."""
        probes = probes_of(run.pod.object, run.pod.containers[run.number])
        if complaint(probes):
            return
        startup = probes.pop(Purpose.STARTUP, None)
        if startup is not None and not await self._starts(run, startup, probes):
            return
        async with asyncio.TaskGroup() as both:
            if (liveness := probes.get(Purpose.LIVENESS)) is not None:
                both.create_task(self._keep_alive(run, liveness))
            if (readiness := probes.get(Purpose.READINESS)) is not None:
                both.create_task(self._follow(run, readiness))

    async def _starts(
        self, run: Run, probe: HealthProbe, others: dict[Purpose, HealthProbe]
    ) -> bool:
        """Return whether it has started; where it does not it is killed, if it still runs."""
        good = await self._first(run, probe, {True, False})
        if good:
            run.pod.unstarted.discard(run.number)
            _put(run.pod.unready, run.number, holds=Purpose.READINESS in others)
            await self.tell(run.pod)
        elif good is not None:
            self.kill(run, probe)
        return bool(good)

    async def _keep_alive(self, run: Run, probe: HealthProbe) -> None:
        """Have the container killed when the probe fails."""
        if await self._first(run, probe, {False}) is not None:
            self.kill(run, probe)

    async def _follow(self, run: Run, probe: HealthProbe) -> None:
        """Tell whenever the container's readiness turns."""
        async with aclosing(self._verdicts(run, probe)) as verdicts:
            async for good in verdicts:
                if good == (run.number in run.pod.unready):
                    _put(run.pod.unready, run.number, holds=not good)
                    await self.tell(run.pod)

    async def _first(self, run: Run, probe: HealthProbe, wanted: set[bool]) -> bool | None:
        """Return the first verdict that is wanted; None where the run ends before."""
        async with aclosing(self._verdicts(run, probe)) as verdicts:
            async for good in verdicts:
                if good in wanted:
                    return good
        return None

    async def _verdicts(self, run: Run, probe: HealthProbe) -> AsyncGenerator[bool, None]:
        """Yield after each probe what as many in a row as the threshold asks for say."""
        await asyncio.sleep(probe.delay)
        last: bool | None = None
        streak = 0
        while run.lasts():
            good = await self.prober.succeeds(probe, run.target)
            streak = streak + 1 if good == last else 1
            last = good
            if run.lasts() and streak >= (probe.successes if good else probe.failures):
                yield good
            await asyncio.sleep(probe.period)


_GATES = {Purpose.STARTUP, Purpose.READINESS}
"""Probes that have to succeed before a container is ready."""


def _put(members: set[int], number: int, *, holds: bool) -> None:
    """Have a number in a set, or not."""
    (members.add if holds else members.discard)(number)
