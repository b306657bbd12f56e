"""The node agent: the process that plays every kubelet and every service proxy of a cluster.

It runs in the fabric's network namespace, a client of the API server like any other, and answers
on a socket how far its pods are (:class:`Progress`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.clusters.embedded import realplane
from harness.clusters.embedded.addresses import (
    API_PORT,
    CONTROL_PLANE_ADDRESS,
    namespace_of_node,
)
from harness.clusters.embedded.api import Api, Event, Reflector
from harness.clusters.embedded.children import Children
from harness.clusters.embedded.containers import Runtime
from harness.clusters.embedded.echoes import Echoes
from harness.clusters.embedded.kubelet import Kubelet
from harness.clusters.embedded.kubeletapi import KubeletApi, server_in
from harness.clusters.embedded.kubeproxy import KubeProxies
from harness.clusters.embedded.nodeobjects import keep_leases, register
from harness.clusters.embedded.nodeproxy import NodeProxies
from harness.clusters.embedded.pki import Client, Pki, client_context
from harness.clusters.embedded.podnet import NodeNetwork
from harness.clusters.embedded.settings import ControlPlane, Proxy, Shape
from harness.clusters.embedded.state import Folder
from harness.clusters.embedded.tally import Tally

_SWITCH_SECONDS = 0.0002
"""How long the event loop may keep the interpreter from a thread that waits for it.

The workers leave it at every system call, some twenty for a pod; with the default of 5 ms each
return could cost as much while the loop is busy.
"""

_EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104  # of a pod's own network

_WRITTEN_SLICES = (
    "/apis/discovery.k8s.io/v1/endpointslices"
    "?labelSelector=endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io"
)
"""The EndpointSlices of Services without a selector, as ``kubernetes``."""


class Watcher:
    """Hands every change of pods and Services to kubelet and proxies, and counts pods."""

    def __init__(self, api: Api, kubelet: Kubelet, proxies: NodeProxies | KubeProxies) -> None:
        """Follow pods and Services of one API server."""
        self._kubelet = kubelet
        self._proxies = proxies
        self._tally = Tally()
        self.pods = Reflector(api, "/api/v1/pods", self._pod)
        self.services = Reflector(api, "/api/v1/services", proxies.observe_service)

    def _pod(self, event: Event) -> None:
        if event.kind == "DELETED":
            self._tally.drop(event.object)
        elif event.kind != "SYNCED":
            self._tally.set(event.object)
        self._kubelet.observe(event)
        self._proxies.observe_pod(event)

    def progress(self, namespace: str | None) -> dict[str, Any]:
        """Return how far the pods (of one namespace) and the proxies are."""
        return self._tally.seen(namespace) | {
            "pods_version": self.pods.version,
            "services_version": self.services.version,
            "proxies_settled": self._proxies.settled,
        }


async def _answer(
    watcher: Watcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one client: a line of JSON for each line of JSON."""
    while line := await reader.readline():
        request = json.loads(line)
        answer = watcher.progress(request.get("namespace"))
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    writer.close()


def _api(folder: Folder, shape: Shape) -> Api:
    match shape.control_plane:
        case ControlPlane.BUILTIN:
            return Api(f"http://{CONTROL_PLANE_ADDRESS}:{API_PORT}")
        case ControlPlane.REAL:
            pki = Pki(folder.pki)
            return Api(realplane.URL, client_context(pki, Client.AGENT))


async def _serve_kubelets(folder: Folder, shape: Shape, kubelet: Kubelet) -> None:
    """Serve what a real API server asks kubelets for, on each node's own address."""
    listening = [
        await asyncio.to_thread(server_in, namespace_of_node(node.name), str(node.address))
        for node in shape.plan()
    ]
    await KubeletApi(kubelet).serve(Pki(folder.pki), listening)


async def run(folder: Folder, shape: Shape) -> None:
    """Play the nodes of a cluster until the process ends."""
    children = Children()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, children.reap)
    networks = {node.name: NodeNetwork(node, shape.cni, shape.ip_family) for node in shape.plan()}
    runtime = Runtime(children, folder.scratch, folder.logs, pod_logs=shape.pod_logs)
    async with _api(folder, shape) as api:
        builtin = shape.control_plane is ControlPlane.BUILTIN
        versions = sorted({4, *shape.ip_family.versions})
        echoes = Echoes(folder.prober, [_EVERYWHERE[version] for version in versions])
        kubelet = Kubelet(api, networks, runtime, echoes, shape.pods_per_node, collects=builtin)
        proxies: NodeProxies | KubeProxies
        if shape.proxy is Proxy.NFTABLES:
            proxies = NodeProxies(shape, children, folder.scratch, lambda: kubelet.starting > 0)
        else:
            proxies = KubeProxies(api, shape.plan())
        watcher = Watcher(api, kubelet, proxies)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watcher.pods.run())
            tasks.create_task(watcher.services.run())
            tasks.create_task(proxies.run())
            if shape.control_plane is ControlPlane.REAL and isinstance(proxies, NodeProxies):
                written = Reflector(api, _WRITTEN_SLICES, proxies.observe_slice)
                tasks.create_task(written.run())
            if shape.control_plane is ControlPlane.REAL:
                tasks.create_task(_serve_kubelets(folder, shape, kubelet))
            await register(api, shape)
            tasks.create_task(keep_leases(api, shape))
            await asyncio.start_unix_server(
                lambda reader, writer: _answer(watcher, reader, writer), folder.agent
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the node agent; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="agent")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shape", type=Shape.from_json, required=True)
    arguments = parser.parse_args(argv)
    sys.setswitchinterval(_SWITCH_SECONDS)
    asyncio.run(run(Folder(arguments.folder), arguments.shape))


if __name__ == "__main__":
    main()
