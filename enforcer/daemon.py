"""The loop: changes of the cluster in, transactions to the kernel out.

The only module that knows every stage; read :func:`run` first. SIGTERM and SIGINT end the daemon
and leave the rules: enforcement outlives it, and the next start finds nothing to change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from enforcer import fastpath, lock
from enforcer.counters import Counters
from enforcer.denylog import DenyLog
from enforcer.errors import KernelError
from enforcer.events import Events
from enforcer.health import Health, serve
from enforcer.inbox import Inbox
from enforcer.kube import connect, watch_cluster
from enforcer.links import NodeLinks
from enforcer.memory import settle, share_one_heap
from enforcer.metrics import Metrics
from enforcer.model.changes import Replaced
from enforcer.nft.kernel import NftKernel, check_nft
from enforcer.node import NodeTables, Synced
from enforcer.notices import Notices, UnenforcedWatch
from enforcer.observer import Observer
from enforcer.policy.cluster import Cluster
from enforcer.policy.compile import NodeCompiler
from enforcer.policy.compiled import CompiledPolicy
from enforcer.policy.warnings import Overlaps
from enforcer.probe import check_kernel
from enforcer.programs import check_all, check_iproute2
from enforcer.settings import Settings

logger = logging.getLogger(__name__)

GENERATION_PERIOD = 2.0
"""Seconds between two looks at the kernel's generation number (one netlink message each)."""


async def run(settings: Settings) -> None:
    """Enforce until SIGTERM or SIGINT; SettingsError, MissingError or ApiError at the start."""
    share_one_heap()
    check_all(check_nft, check_iproute2)
    inbox, health, metrics = Inbox(), Health(), Metrics()
    fastpath.check(settings.fast_path)
    links = NodeLinks(settings.same_node, settings.forwarding_pods, settings.fast_path)
    tables = NodeTables(NftKernel(), settings.options, links)
    events, deny_log = Events(settings.node_name), DenyLog(metrics)
    notices = Notices(events, Overlaps(settings.service_cidr))
    observer = Observer(health, metrics, settings)
    loop = SyncLoop(settings, tables, observer, (deny_log, notices))
    _wake_on_change(links, inbox)
    metrics.elements.set_function(tables.elements)
    health.before_scrape = Counters(metrics).refresh
    with lock.held(), contextlib.closing(links):
        check_kernel()
        async with (
            connect(settings.kubeconfig, settings.master) as client,
            serve(health, metrics, settings.health_address, settings.health_port),
        ):
            await _until_signalled(
                watch_cluster(
                    client, inbox.put, on_heard=observer.heard, on_followed=observer.followed
                ),
                loop.follow(inbox),
                deny_log.follow(settings.options.log_group),
                events.follow(client),
                UnenforcedWatch(events, metrics).follow(client),
            )
    logger.info("stopped; the rules stay in the kernel (remove them with: enforcer cleanup)")


class Listener(Protocol):
    """Who wants to know what the kernel holds now."""

    def synced(self, cluster: Cluster, compiled: CompiledPolicy, synced: Synced) -> None:
        """Note that the kernel holds what ``compiled`` says."""


class SyncLoop:
    """Turns batches of changes into syncs, one after the other."""

    def __init__(
        self,
        settings: Settings,
        tables: NodeTables,
        observer: Observer,
        listeners: Sequence[Listener] = (),
    ) -> None:
        """Start with an empty cluster; nothing is applied before every kind has been listed."""
        self._settings = settings
        self._tables = tables
        self._observer = observer
        self._listeners = (observer, *listeners)
        self._cluster = Cluster()
        self._compiler = NodeCompiler(self._cluster, settings.node_name)
        self._owed = False
        self._relisted = False
        self._checked = time.monotonic()

    async def follow(self, inbox: Inbox) -> None:
        """Sync when the cluster has changed or somebody has changed our tables. Never ends."""
        while True:
            batch = await inbox.take(GENERATION_PERIOD)
            changed = [self._cluster.apply(change) for change in batch.changes]
            self._relisted |= any(isinstance(change, Replaced) for change in batch.changes)
            self._owed = self._owed or any(changed)
            if missing := self._cluster.missing():
                self._observer.waiting_for(missing)
            elif self._is_check_due() or self._owed or self._is_disturbed():
                await self._sync(batch.oldest)

    def _is_check_due(self) -> bool:
        if time.monotonic() - self._checked < self._settings.resync_period:
            return False
        self._checked = time.monotonic()
        self._tables.distrust()
        return True

    def _is_disturbed(self) -> bool:
        """Whether our tables may be otherwise than we left them; a kernel that is silent may."""
        try:
            return self._tables.disturbed()
        except KernelError as error:
            logger.warning("%s; looking at all of it", error)
            return True

    async def _sync(self, since: float) -> None:
        """Sync once; what the kernel refuses is counted, and owed to the next turn."""
        self._owed = True
        started = time.monotonic()
        try:
            compiled, synced = await asyncio.to_thread(self._compile_and_apply)
        except KernelError as error:
            self._observer.failed(error)
            return
        self._owed = False
        self._observer.timed(started, since)
        for listener in self._listeners:
            listener.synced(self._cluster, compiled, synced)
        if self._relisted:
            self._relisted = False
            settle()

    def _compile_and_apply(self) -> tuple[CompiledPolicy, Synced]:
        compiled = self._compiler.compile()
        return compiled, self._tables.sync(compiled)


def _wake_on_change(links: NodeLinks, inbox: Inbox) -> None:
    """Let a link or route that comes or goes be looked at at once."""

    def heed() -> None:
        if links.changed():
            inbox.nudge()

    asyncio.get_running_loop().add_reader(links.fileno(), heed)


async def _until_signalled(*work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` side by side until SIGTERM or SIGINT; an error of one ends all."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(item) for item in (*work, stop.wait())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
