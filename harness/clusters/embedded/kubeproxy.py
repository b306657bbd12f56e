"""The real kube-proxy on every node: how it is run, and when it has done what there is to do.

It follows EndpointSlices, which a controller makes of Services and pods. So Services are in step
once the slices say what Services and pods say, and no kube-proxy has changes left to program.
https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from pathlib import Path

import aiohttp

from harness.clusters.embedded.addresses import POD_NETWORK, POD_NETWORK6, NodePlan
from harness.clusters.embedded.api import Api, Event, Reflector
from harness.clusters.embedded.endpoints import Endpoints
from harness.clusters.embedded.settings import Proxy
from harness.clusters.kube.proxies import SERVICE_LABEL, is_idle, ready_addresses

_VERSION4 = 4
_METRICS_PORT = 10249
_HEALTH_PORT = 10256
_POLL_SECONDS = 0.2
_QUIET_SECONDS = 0.5
"""How long all has to be quiet: a change reaches kube-proxy a moment after it reaches us."""


def configuration(proxy: Proxy, node: NodePlan, kubeconfig: Path) -> str:
    """Return the configuration of one node's kube-proxy; its family is that of the node."""
    family = {network.version: str(network) for network in (POD_NETWORK, POD_NETWORK6)}
    ranges = [family[network.version] for network in node.pod_networks]
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": proxy.mode,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "bindAddress": "0.0.0.0" if node.address.version == _VERSION4 else "::",  # noqa: S104
        "clusterCIDR": ",".join(ranges),
        "detectLocalMode": "ClusterCIDR",
        "hostnameOverride": node.name,
        "metricsBindAddress": f"{node.management}:{_METRICS_PORT}",
        "healthzBindAddress": f"{node.management}:{_HEALTH_PORT}",
        # The limits of conntrack belong to the machine, not to a node of ours.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    return json.dumps(config, indent=2) + "\n"


class Slices:
    """The ready addresses that EndpointSlices name, by Service."""

    def __init__(self) -> None:
        """Start with none."""
        self._slices: dict[str, tuple[str, frozenset[str]]] = {}

    def observe(self, event: Event) -> None:
        """Take note of a change of a slice."""
        if event.kind == "SYNCED":
            return
        meta = event.object["metadata"]
        if event.kind == "DELETED":
            self._slices.pop(meta["uid"], None)
            return
        service = f"{meta['namespace']}/{(meta.get('labels') or {}).get(SERVICE_LABEL, '')}"
        self._slices[meta["uid"]] = service, frozenset(ready_addresses(event.object))

    def by_service(self) -> dict[str, frozenset[str]]:
        """Return the addresses of each ``namespace/service``."""
        found: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        for service, addresses in self._slices.values():
            found[service] |= addresses
        return found


class KubeProxies:
    """Watches whether the nodes' kube-proxies are in step; they program themselves."""

    def __init__(self, api: Api, nodes: tuple[NodePlan, ...]) -> None:
        """Watch the kube-proxies of these nodes."""
        self._nodes = nodes
        self._endpoints = Endpoints()
        self._slices = Slices()
        self._reflector = Reflector(
            api, "/apis/discovery.k8s.io/v1/endpointslices", self._observe_slice
        )
        self._changed = time.monotonic()
        self._settled_at = 0.0

    @property
    def settled(self) -> bool:
        """Whether every node programs what Services and pods say now."""
        return self._settled_at > self._changed

    def observe_pod(self, event: Event) -> None:
        """Take note of a change of a pod."""
        if event.kind == "DELETED":
            self._endpoints.drop_pod(event.object)
        elif event.kind != "SYNCED":
            self._endpoints.set_pod(event.object)
        self._note()

    def observe_service(self, event: Event) -> None:
        """Take note of a change of a Service."""
        if event.kind == "DELETED":
            self._endpoints.drop_service(event.object)
        elif event.kind != "SYNCED":
            self._endpoints.set_service(event.object)
        self._note()

    def _observe_slice(self, event: Event) -> None:
        self._slices.observe(event)
        self._changed = time.monotonic()

    def _note(self) -> None:
        if self._endpoints.dirty:
            self._endpoints.forget_changes()
            self._changed = time.monotonic()

    async def run(self) -> None:
        """Look for ever, as often as something has changed."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reflector.run())
            tasks.create_task(self._look())

    async def _look(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                await asyncio.sleep(_POLL_SECONDS)
                began = time.monotonic()
                if self.settled or began - self._changed < _QUIET_SECONDS:
                    continue
                if self._slices_agree() and await self._all_idle(session):
                    self._settled_at = began

    def _slices_agree(self) -> bool:
        """Whether the controller has written down what Services and pods say."""
        said = self._slices.by_service()
        return all(
            said.get(service, frozenset()) == addresses
            for service, addresses in self._endpoints.ready_addresses()
        )

    async def _all_idle(self, session: aiohttp.ClientSession) -> bool:
        for node in self._nodes:
            try:
                url = f"http://{node.management}:{_METRICS_PORT}/metrics"
                async with session.get(url) as response:
                    if not is_idle(await response.text()):
                        return False
            except (aiohttp.ClientError, TimeoutError):
                return False
        return True
