"""The loop as a whole: how it ends, and who else may run."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from ipaddress import ip_address, ip_network

import pytest

from enforcer import daemon, lock
from enforcer.cleanup import clean
from enforcer.daemon import SyncLoop
from enforcer.errors import KernelError, SettingsError
from enforcer.health import Health
from enforcer.inbox import Inbox
from enforcer.metrics import Metrics
from enforcer.model.changes import Kind, Replaced
from enforcer.model.net import Direction
from enforcer.model.objects import Key, Node, Pod, Policy
from enforcer.model.selectors import EVERYTHING
from enforcer.nft.fake import FakeKernel
from enforcer.nft.transaction import Transaction
from enforcer.node import NodeTables, Synced
from enforcer.observer import Observer
from enforcer.policy.cluster import Cluster
from enforcer.policy.compiled import CompiledPolicy
from enforcer.ruleset.names import IPV4, TABLES
from enforcer.settings import Settings
from tests.still_links import StillLinks

SETTINGS = Settings("n1")
POD = Pod(Key("ns", "p"), "n1", {}, (ip_address("10.1.0.2"),))
DENY = Policy(Key("ns", "deny"), EVERYTHING, {Direction.INGRESS: ()})
NODE = Node("n1", (), (ip_network("10.1.0.0/24"),))


class SlowKernel(FakeKernel):
    """Takes a transaction when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def apply(self, transaction: Transaction) -> None:
        self.entered.set()
        assert self.go_on.wait(10)
        super().apply(transaction)


class FlakyKernel(FakeKernel):
    """Refuses the first transactions."""

    refusals = 2

    def apply(self, transaction: Transaction) -> None:
        if self.refusals:
            self.refusals -= 1
            raise KernelError("Device or resource busy")
        super().apply(transaction)


class SilentKernel(FakeKernel):
    """Has no room for its answer when it is asked for its generation out of the blue."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = 0

    def generation(self) -> int:
        if self.silent:
            self.silent -= 1
            raise KernelError("the kernel had no room for its answer (No buffer space available)")
        return super().generation()


class Told:
    """Counts syncs, and sets an event at each."""

    def __init__(self) -> None:
        self.count = 0
        self.something = asyncio.Event()

    def synced(self, _cluster: Cluster, _compiled: CompiledPolicy, _synced: Synced) -> None:
        self.count += 1
        self.something.set()


def loop_on(kernel: FakeKernel, told: Told, metrics: Metrics | None = None) -> SyncLoop:
    """Return a sync loop whose kernel is a fake."""
    tables = NodeTables(kernel, SETTINGS.options, StillLinks(), lambda _mark, _mask: False)
    observer = Observer(Health(), metrics or Metrics(), SETTINGS)
    return SyncLoop(SETTINGS, tables, observer, (told,))


def everything(inbox: Inbox, *policies: Policy) -> None:
    """List every kind."""
    for kind, objects in (
        (Kind.PODS, (POD,)),
        (Kind.NAMESPACES, ()),
        (Kind.NODES, (NODE,)),
        (Kind.POLICIES, policies),
    ):
        inbox.put(Replaced(kind, objects))


def test_a_sync_that_has_begun_is_finished_before_the_end() -> None:
    """SIGTERM in the middle of a sync: the transactions go in, then the process ends."""
    kernel = SlowKernel()

    async def run() -> None:
        inbox = Inbox()
        everything(inbox, DENY)
        loop = loop_on(kernel, Told())
        work = asyncio.create_task(daemon._until_signalled(loop.follow(inbox)))
        await asyncio.to_thread(kernel.entered.wait, 10)
        os.kill(os.getpid(), signal.SIGTERM)
        await work
        kernel.go_on.set()

    asyncio.run(run())

    assert "10.1.0.2" in kernel.read(TABLES).tables[IPV4].maps["in_d4"].targets


async def test_the_daemon_ends_with_the_first_task_that_ends() -> None:
    """No process stays alive without its sync loop: an error of one task is the end of all."""
    others = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError("a bug")

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            others.set()

    with pytest.raises(RuntimeError, match="a bug"):
        await daemon._until_signalled(wait(), fail())

    assert others.is_set()


async def test_a_refused_sync_is_tried_again_without_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the kernel refused is owed, though the cluster stays as it is; and it is counted."""
    monkeypatch.setattr(daemon, "GENERATION_PERIOD", 0.01)
    kernel, told, inbox, metrics = FlakyKernel(), Told(), Inbox(), Metrics()
    everything(inbox, DENY)
    task = asyncio.create_task(loop_on(kernel, told, metrics).follow(inbox))

    async with asyncio.timeout(10):
        await told.something.wait()
    task.cancel()
    await asyncio.wait([task])

    assert kernel.refusals == 0
    assert metrics.registry.get_sample_value("enforcer_sync_failures_total") == 2
    assert IPV4 in kernel.read(TABLES).tables


async def test_a_kernel_that_does_not_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that is lost is no end of the daemon: it looks at everything, and goes on."""
    monkeypatch.setattr(daemon, "GENERATION_PERIOD", 0.01)
    kernel, told, inbox = SilentKernel(), Told(), Inbox()
    everything(inbox, DENY)
    task = asyncio.create_task(loop_on(kernel, told).follow(inbox))
    async with asyncio.timeout(10):
        await told.something.wait()
        kernel.silent = 2
        told.something.clear()
        await told.something.wait()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])

    assert kernel.silent == 0


async def test_nothing_is_applied_before_every_kind_has_been_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cluster seen by half would open or close what nobody asked for."""
    monkeypatch.setattr(daemon, "GENERATION_PERIOD", 0.001)
    kernel, told, inbox = FakeKernel(), Told(), Inbox()
    inbox.put(Replaced(Kind.PODS, (POD,)))
    task = asyncio.create_task(loop_on(kernel, told).follow(inbox))
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert kernel.applied == []

    everything(inbox)
    async with asyncio.timeout(10):
        await told.something.wait()
    task.cancel()
    await asyncio.wait([task])

    assert kernel.applied


def test_cleaning_up_under_a_running_enforcer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make its tables again within seconds."""
    monkeypatch.setattr("enforcer.lock._NAME", f"\0npd-test-{os.getpid()}")
    monkeypatch.setattr("enforcer.cleanup.check_all", lambda *_: None)

    with lock.held(), pytest.raises(SettingsError, match="another enforcer"):
        clean()
