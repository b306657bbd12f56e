"""Keeps the service proxy of every node in step with Services and pods.

All nodes hold the same table, so a change is worked out and written once, and loaded by one
``nft`` on each node. Changes are gathered; a sync is not started again before it has rested for
a multiple of what it took, so that proxies cost a constant share of the machine.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.clusters.embedded import proxy
from harness.clusters.embedded.addresses import NodePlan, namespace_of_node
from harness.clusters.embedded.api import Event
from harness.clusters.embedded.children import Children, Program
from harness.clusters.embedded.endpoints import Endpoints, Table
from harness.clusters.embedded.log import say
from harness.clusters.embedded.namespaces import enter_network
from harness.clusters.embedded.settings import Shape

_WORKERS = 2
_GATHER_SECONDS = 0.03
_REST_FACTOR = 2.0
_REST_FACTOR_BUSY = 12.0
_RETRY_SECONDS = 1.0


class NodeProxies:
    """The service proxies of all nodes."""

    def __init__(
        self, shape: Shape, children: Children, scratch: Path, starting: Callable[[], bool]
    ) -> None:
        """Serve the nodes of a shape; scripts for nft are written into ``scratch``.

        ``starting`` says whether pods are being started: then others need the machine more.
        """
        self._starting = starting
        self._shape = shape
        self._nodes = shape.plan()
        self._children = children
        self._scratch = scratch
        self._endpoints = Endpoints()
        self._programmed: Table = {}
        self._stale: set[str] = {node.name for node in self._nodes}
        self._changed = asyncio.Event()
        self._busy = False
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="proxy")

    @property
    def settled(self) -> bool:
        """Whether every node's table says what Services and pods say now."""
        return not (self._busy or self._stale or self._endpoints.dirty)

    def observe_pod(self, event: Event) -> None:
        """Take note of a change of a pod."""
        if event.kind == "DELETED":
            self._endpoints.drop_pod(event.object)
        elif event.kind != "SYNCED":
            self._endpoints.set_pod(event.object)
        self._wake()

    def observe_service(self, event: Event) -> None:
        """Take note of a change of a Service."""
        if event.kind == "DELETED":
            self._endpoints.drop_service(event.object)
        elif event.kind != "SYNCED":
            self._endpoints.set_service(event.object)
        self._wake()

    def observe_slice(self, event: Event) -> None:
        """Take note of a change of an EndpointSlice that no selector made."""
        if event.kind == "DELETED":
            self._endpoints.drop_slice(event.object)
        elif event.kind != "SYNCED":
            self._endpoints.set_slice(event.object)
        self._wake()

    def _wake(self) -> None:
        if self._endpoints.dirty:
            self._changed.set()

    async def run(self) -> None:
        """Sync for ever."""
        while True:
            began = time.monotonic()
            self._busy = True
            await self._sync()
            self._busy = False
            if self._stale:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            await self._rest(time.monotonic() - began)
            await self._changed.wait()
            await asyncio.sleep(_GATHER_SECONDS)

    async def _rest(self, spent: float) -> None:
        """Rest for a multiple of what a sync took; longer while pods are being started."""
        rested = 0.0
        while rested < spent * (_REST_FACTOR_BUSY if self._starting() else _REST_FACTOR):
            await asyncio.sleep(_GATHER_SECONDS)
            rested += _GATHER_SECONDS

    async def _sync(self) -> None:
        self._changed.clear()
        want = self._endpoints.refresh()
        change = proxy.change(self._programmed, want)
        loop = asyncio.get_running_loop()
        fresh = [node for node in self._nodes if node.name not in self._stale]
        stale = [node for node in self._nodes if node.name in self._stale]
        loads = []
        if stale:
            elements = proxy.change({}, want).script()
            loads.append(loop.run_in_executor(self._workers, self._reload, stale, elements))
        if change:
            script = self._write("change", change.script())
            half = (len(fresh) + 1) // 2
            loads += [
                loop.run_in_executor(self._workers, self._load, part, script)
                for part in (fresh[:half], fresh[half:])
            ]
        await asyncio.gather(*loads)
        self._programmed = want

    def _reload(self, nodes: Sequence[NodePlan], elements: str) -> None:
        for node in nodes:
            text = proxy.base_rules(self._shape, node) + elements
            self._stale.discard(node.name)
            self._load([node], self._write(f"whole-{node.name}", text))

    def _load(self, nodes: Sequence[NodePlan], script: Path) -> None:
        for node in nodes:
            complaint = self._nft(node, script)
            if complaint:
                say(f"proxy of {node.name}: {complaint}")
                self._stale.add(node.name)

    def _write(self, name: str, text: str) -> Path:
        path = self._scratch / f"proxy-{name}.nft"
        path.write_text(text)
        return path

    def _nft(self, node: NodePlan, script: Path) -> str:
        """Load a script on a node; return what nft complains about."""
        enter_network(namespace_of_node(node.name))
        ended = threading.Event()
        code = 0

        def note(status: int) -> None:
            nonlocal code
            code = status
            ended.set()

        reader, writer = os.pipe2(os.O_CLOEXEC)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            streams = (nothing, nothing, writer)
            self._children.start(Program(("nft", "-f", str(script)), descriptors=streams), note)
        finally:
            os.close(writer)
            os.close(nothing)
        with os.fdopen(reader) as complaints:
            complaint = complaints.read()
        ended.wait()
        return f"nft ended with {code}: {complaint[:1000]}" if code else ""
