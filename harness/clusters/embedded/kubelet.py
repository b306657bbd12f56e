"""Every node's kubelet in one process: pods bound to its nodes come to life, tell, and end.

Worker threads make namespaces and start programs, because those belong to a thread's namespaces;
everything else happens in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.clusters.embedded import podstatus
from harness.clusters.embedded.addresses import NodePlan
from harness.clusters.embedded.api import Api, Event, Object
from harness.clusters.embedded.containers import Runtime, workloads
from harness.clusters.embedded.echoes import Echoes, echo_ports
from harness.clusters.embedded.health import Health, Run
from harness.clusters.embedded.log import say
from harness.clusters.embedded.namespaces import enter_network
from harness.clusters.embedded.podnet import NodeNetwork, Seat
from harness.clusters.embedded.pods import Pod, Stage
from harness.clusters.embedded.probes import DEFAULT_GRACE, HealthProbe, Prober
from harness.clusters.embedded.seats import NoSeatError, Seats
from harness.clusters.embedded.wishes import Hold, UnknownWishError, Wishes, wishes_of

_WORKERS = 4
_RESTART_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class Kubelet:
    """All pods of all nodes of one embedded cluster."""

    def __init__(  # noqa: PLR0913  # its parts, given once
        self,
        api: Api,
        networks: Mapping[str, NodeNetwork],
        runtime: Runtime,
        echoes: Echoes,
        room: int,
        *,
        collects: bool = True,
    ) -> None:
        """Serve the nodes in ``networks``, each with room for so many pods; in the event loop.

        ``collects``: deleted pods of other nodes are ended too, as pod garbage collection does
        where there is a controller manager.
        """
        self._collects = collects
        self._api = api
        self._room = room
        self._networks = networks
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kubelet")
        prober = Prober(runtime.children, self._workers)
        self._health = Health(prober, self._tell, self._kill)
        self._echoes = echoes
        self._seats = {name: Seats(net.node) for name, net in networks.items()}
        self._pods: dict[str, Pod] = {}
        self._bound: dict[str, set[str]] = {name: set() for name in networks}
        self._latest: dict[str, Pod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = 0
        self._waiting: set[str] = set()

    @property
    def starting(self) -> int:
        """How many pods wait to be started."""
        return self._starting

    def observe(self, event: Event) -> None:
        """Act on a change of a pod."""
        if event.kind == "SYNCED":
            return
        pod = event.object
        uid = pod["metadata"]["uid"]
        node = pod["spec"].get("nodeName", "")
        ending = event.kind == "DELETED" or "deletionTimestamp" in pod["metadata"]
        if node not in self._networks:
            if self._collects and node and ending and event.kind != "DELETED":
                self._do(self._confirm(pod))
            return
        known = self._pods.get(uid)
        if ending:
            self._waiting.discard(uid)
        if known is not None:
            known.object = pod
            if ending:
                self._doom(uid, known)
            else:
                self._obey(known)
        elif ending and event.kind != "DELETED":
            self._do(self._confirm(pod))
        elif not ending and pod.get("status", {}).get("phase", "Pending") == "Pending":
            self._admit(uid, pod, self._networks[node])

    # ---- birth ----

    def _admit(self, uid: str, pod: Object, network: NodeNetwork) -> None:
        if self._is_full(network.node):
            self._refuse(pod, network.node)
            return
        try:
            wishes = wishes_of(pod)
            if wishes.hold is Hold.NETWORK:
                return
            if leaving := self._leaving(network.node, wishes.address):
                self._waiting.add(uid)
                self._do(self._admit_after(leaving, uid, pod, network))
                return
            seat = self._seat(pod, network.node, wishes)
        except (UnknownWishError, NoSeatError) as error:
            self._do(self._report(pod, podstatus.refused(pod, "StartError", str(error))))
            return
        host_network = bool(pod["spec"].get("hostNetwork"))
        made = Pod(pod, network.node, seat, host_network, workloads(pod), echo_ports(pod))
        made.idle.set()
        if wishes.hold is Hold.NOTHING:
            made.released.set()
        made.before = self._latest.get(made.key)
        self._pods[uid] = self._latest[made.key] = made
        self._bound[network.node.name].add(uid)
        self._starting += 1
        self._do(self._start(uid, made))

    def _seat(self, pod: Object, node: NodePlan, wishes: Wishes) -> Seat:
        if pod["spec"].get("hostNetwork"):
            return Seat(node.host)
        return self._seats[node.name].take(wishes)

    def _leaving(self, node: NodePlan, wished: str) -> Pod | None:
        """Return the pod that is about to give back the address that another one wishes for.

        An object that is deleted without grace is gone before its pod is.
        """
        others = (other for other in self._pods.values() if other.node is node)
        return next((other for other in others if other.has_still(wished)), None)

    async def _admit_after(self, leaving: Pod, uid: str, pod: Object, network: NodeNetwork) -> None:
        await leaving.freed.wait()
        if uid in self._waiting:
            self._waiting.discard(uid)
            self._admit(uid, pod, network)

    def _is_full(self, node: NodePlan) -> bool:
        """Whether as many pods live on a node as it has room for."""
        bound = self._bound[node.name]
        if len(bound) < self._room:
            return False
        return sum(self._pods[uid].lives for uid in bound) >= self._room

    def _refuse(self, pod: Object, node: NodePlan) -> None:
        """Say of a pod what a kubelet's admission says: it never runs."""
        self._do(self._report(pod, podstatus.out_of_room(pod, node.name, self._room)))

    async def _start(self, uid: str, pod: Pod) -> None:
        try:
            if pod.before is not None:
                await pod.before.gone.wait()
                pod.before = None
            await self._bring_up(uid, pod)
        finally:
            # Only now may it end: a server that gets SIGTERM before it serves might sleep on it.
            pod.stage = Stage.RUNNING
            if pod.doomed:
                await self._end(uid, pod)

    async def _bring_up(self, uid: str, pod: Pod) -> None:
        if await self._is_built(uid, pod):
            pod.started = podstatus.now()
            await self._when_listening(pod)
            self._obey(pod)

    async def _is_built(self, uid: str, pod: Pod) -> bool:
        """Make the pod's network and start its servers; say why where that cannot be."""
        try:
            await self._loop.run_in_executor(self._workers, self._build, uid, pod)
        except OSError as error:
            say(f"{pod.key}: cannot start: {error}")
            await self._report(pod.object, podstatus.refused(pod.object, "StartError", str(error)))
            return False
        else:
            await self._echoes.open(pod.netns, pod.echoes)
            return True
        finally:
            self._starting -= 1

    def _build(self, uid: str, pod: Pod) -> None:
        """Make the pod's network and start its programs: in a worker thread."""
        if pod.host_network:
            enter_network(pod.netns)
        else:
            network = self._networks[pod.node.name]
            pod.link = network.connect(pod.namespace, pod.name, pod.seat)
        for number in range(len(pod.workloads)):
            self._run(uid, pod, number)

    def _run(self, uid: str, pod: Pod, number: int) -> None:
        """Start a container in the calling thread's namespaces."""
        workload = pod.workloads[number]
        started = self._runtime.start(
            f"{pod.key}/{number}", workload, lambda code: self._exited(uid, pod, number, code)
        )
        if started is not None:
            pod.pids[number] = started.pid
            pod.unproved.append(started)
            self._loop.call_soon_threadsafe(self._look_alive, pod)

    def _look_alive(self, pod: Pod) -> None:
        if pod.pids:
            pod.idle.clear()

    async def _when_listening(self, pod: Pod) -> None:
        """Tell that the pod runs once its servers have taken a connection."""
        while pod.unproved:
            try:
                await pod.unproved.pop().listening()
            except (OSError, TimeoutError) as error:
                say(f"{pod.key}: does not listen: {error!r}")
                return
        await pod.released.wait()
        if not (pod.doomed or pod.finished):
            self._attend(pod)
            await self._tell(pod)

    # ---- life ----

    def _obey(self, pod: Pod) -> None:
        """Do what the pod's annotations say now."""
        try:
            wishes = wishes_of(pod.object)
        except UnknownWishError as error:
            say(f"{pod.key}: {error}")
            return
        if wishes.hold is Hold.NOTHING:
            pod.released.set()
        if wishes.exit is not None and pod.started and not pod.finished:
            pod.exits = dict.fromkeys(range(len(pod.workloads)), wishes.exit)
            self._do(self._finish(pod))

    async def _finish(self, pod: Pod) -> None:
        """End a pod for good: its network goes, then that is told; its object stays."""
        _signal(pod.pids.values(), signal.SIGKILL)
        await pod.idle.wait()
        await self._settle(pod)
        await self._tell(pod)

    def _attend(self, pod: Pod) -> None:
        """Start the probes of every container that has begun to run."""
        for number in range(len(pod.containers)):
            run = number, pod.restarts.get(number, 0)
            if run not in pod.attended and pod.runs(number):
                pod.attended.add(run)
                self._do(self._health.attend(self._health.expect(pod, number)))

    def _kill(self, run: Run, probe: HealthProbe) -> None:
        """End a container because of a probe; what then happens is its restart policy's matter."""
        say(f"{run.name} is killed: its {probe.purpose.value} probe failed")
        pid = run.pod.pids.get(run.number)
        if pid is None:
            self._exited(run.pod.uid, run.pod, run.number, -signal.SIGKILL)
            return
        _signal([pid], signal.SIGTERM)
        self._loop.call_later(probe.grace, self._kill_again, run, pid)

    def _kill_again(self, run: Run, pid: int) -> None:
        if run.pod.pids.get(run.number) == pid:
            _signal([pid], signal.SIGKILL)

    def _exited(self, uid: str, pod: Pod, number: int, code: int) -> None:
        """Act on the end of a container's process (in the event loop)."""
        pod.pids.pop(number, None)
        if not pod.pids:
            pod.idle.set()
        if pod.stage is Stage.ENDING or pod.doomed or number in pod.exits:
            return
        policy = pod.object["spec"].get("restartPolicy", "Always")
        if policy == "Always" or (policy == "OnFailure" and code != 0):
            pod.note_end(number, code)
            self._do(self._restart(uid, pod, number))
        else:
            pod.exits[number] = code
            self._do(self._finish(pod) if pod.finished else self._tell(pod))

    async def _restart(self, uid: str, pod: Pod, number: int) -> None:
        """Start a container again after a pause; tell both."""
        if pod.started and pod.released.is_set():
            await self._tell(pod)
        await asyncio.sleep(_RESTART_SECONDS[min(pod.restarts[number], len(_RESTART_SECONDS)) - 1])
        if not pod.doomed:
            with contextlib.suppress(OSError):
                await self._loop.run_in_executor(self._workers, self._rerun, uid, pod, number)
            pod.down.discard(number)
            await self._when_listening(pod)

    def _rerun(self, uid: str, pod: Pod, number: int) -> None:
        enter_network(pod.netns)
        self._run(uid, pod, number)

    async def _tell(self, pod: Pod) -> None:
        """Write the pod's status; one write at a time, so that the last one is the newest."""
        async with pod.telling:
            await self._report(pod.object, podstatus.status(pod.object, pod.life))

    async def _report(self, pod: Object, status: Object) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        await self._api.patch(path, {"metadata": {"uid": meta["uid"]}, "status": status})

    # ---- death ----

    def _doom(self, uid: str, pod: Pod) -> None:
        if pod.doomed:
            return
        pod.doomed = True
        pod.released.set()
        if pod.stage is Stage.RUNNING:
            self._do(self._end(uid, pod))

    async def _end(self, uid: str, pod: Pod) -> None:
        """SIGTERM, the grace period, SIGKILL; then the network goes, then the API object."""
        if pod.stage is Stage.ENDING:
            return
        pod.stage = Stage.ENDING
        grace = pod.object["metadata"].get("deletionGracePeriodSeconds", DEFAULT_GRACE)
        _signal(pod.pids.values(), signal.SIGTERM if grace else signal.SIGKILL)
        try:
            await asyncio.wait_for(pod.idle.wait(), max(grace, 1))
        except TimeoutError:
            _signal(pod.pids.values(), signal.SIGKILL)
            await pod.idle.wait()
        await self._settle(pod)
        self._pods.pop(uid, None)
        self._bound[pod.node.name].discard(uid)
        if self._latest.get(pod.key) is pod:
            del self._latest[pod.key]
        pod.gone.set()
        await self._confirm(pod.object)

    async def _settle(self, pod: Pod) -> None:
        """Take a pod's servers and network away, and free its address; once."""
        if pod.settled:
            await pod.freed.wait()
            return
        pod.settled = True
        if pod.host_network:
            await self._echoes.close(pod.netns, pod.echoes)
        else:
            await self._echoes.close_all(pod.netns)
        if pod.link is not None:
            network = self._networks[pod.node.name]
            await self._loop.run_in_executor(
                self._workers, network.disconnect, pod.namespace, pod.name, pod.link
            )
        if not pod.host_network:
            self._seats[pod.node.name].give_back(pod.seat)
        pod.freed.set()

    async def _confirm(self, pod: Object) -> None:
        """Tell the API that a pod has ended: now its object goes."""
        meta = pod["metadata"]
        await self._api.delete(
            f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}",
            {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}},
        )

    def log_of(self, namespace: str, pod: str, container: str) -> Path | None:
        """Return a container's log; None where there is no such container."""
        for one in self._pods.values():
            if (one.namespace, one.name) == (namespace, pod):
                names = [item["name"] for item in one.object["spec"].get("containers") or ()]
                if container in names:
                    return self._runtime.log_of(f"{one.key}/{names.index(container)}")
        return None

    def _do(self, work: Any) -> None:
        """Run a coroutine in the background; a failure is logged, never lost."""
        task = self._loop.create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _logged(work: Any) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001  # one pod's trouble must not end all others
        say(f"kubelet: {type(error).__name__}: {error}")


def _signal(pids: Any, number: int) -> None:
    for pid in list(pids):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
