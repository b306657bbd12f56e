"""The real control plane inside an embedded cluster: which programs run, and with which flags.

etcd listens on the fabric's loopback alone, the API server on the fabric, where nodes reach it;
everything speaks TLS and knows whom it speaks to. Pods need no service account token here, so the
ServiceAccount admission plugin is off (as in controller-runtime's envtest): a pod can be made in
a namespace before a controller has made the namespace's account.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.embedded.addresses import (
    API_PORT,
    CONTROL_PLANE_ADDRESS,
    SERVICE_NETWORK,
    SERVICE_NETWORK6,
    IpFamily,
    control_plane_host,
)
from harness.clusters.embedded.kubeconfig import kubeconfig, write
from harness.clusters.embedded.pki import Client, Pki

URL = f"https://{CONTROL_PLANE_ADDRESS}:{API_PORT}"
"""Where the API server is, for whoever is on the fabric."""

ETCD, API_SERVER = "etcd", "kube-apiserver"
CONTROLLER_MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"
KUBE_PROXY = "kube-proxy"
NEEDED = (ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER)
"""The programs without which there is no control plane."""

_ETCD_URL = "https://127.0.0.1:2379"
_PEER_URL = "https://127.0.0.1:2380"
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_QUOTA_BYTES = 8 << 30
_QPS, _BURST = 500, 1000
_BATCH = "500ms"
"""How long endpoint controllers gather changes, which else cost them all pods of a namespace each.

As in Kubernetes' own scalability tests.
"""

Run = Callable[[str, Sequence[str]], None]
"""Starts a program under a name, which is its log's, too."""


@dataclass(frozen=True, slots=True)
class RealPlane:
    """The control plane of one cluster: programs by name, its certificates, room for its data."""

    programs: Mapping[str, str]
    pki: Pki
    data: Path
    family: IpFamily = IpFamily.IPV4

    def start_storage_and_api(self, run: Run) -> None:
        """Start etcd and the API server, which waits for it."""
        run(ETCD, self._etcd())
        run(API_SERVER, self._api_server())

    def start_controllers(self, run: Run) -> None:
        """Start those who need an API server that answers."""
        run(CONTROLLER_MANAGER, self._controller_manager())
        run(SCHEDULER, self._scheduler())

    def kubeconfig(self, client: Client, server: str = URL) -> str:
        """Return a kubeconfig of one client."""
        return kubeconfig(server, client.value[0], self.pki.ca, self.pki.credentials(client))

    def write_kubeconfig(self, client: Client) -> Path:
        """Write the kubeconfig of one client beside its certificate."""
        path = self.pki.path / f"{client.file_name}.kubeconfig"
        write(path, self.kubeconfig(client))
        return path

    def _etcd(self) -> Sequence[str]:
        """Return etcd's command; its data is in memory (a tmpfs), where syncing costs nothing."""
        certificate, key = self.pki.pair("etcd")
        tls = [f"--trusted-ca-file={self.pki.ca}", f"--cert-file={certificate}"]
        tls += [f"--key-file={key}", "--client-cert-auth"]
        peers = [f"--peer-trusted-ca-file={self.pki.ca}", f"--peer-cert-file={certificate}"]
        peers += [f"--peer-key-file={key}", "--peer-client-cert-auth"]
        return (
            self.programs[ETCD],
            f"--data-dir={self.data / 'etcd'}",
            f"--listen-client-urls={_ETCD_URL}",
            f"--advertise-client-urls={_ETCD_URL}",
            f"--listen-peer-urls={_PEER_URL}",
            f"--initial-advertise-peer-urls={_PEER_URL}",
            f"--initial-cluster=default={_PEER_URL}",
            f"--quota-backend-bytes={_QUOTA_BYTES}",
            "--log-level=warn",
            *tls,
            *peers,
        )

    def _api_server(self) -> Sequence[str]:
        pki = self.pki
        certificate, key = pki.pair("apiserver")
        store_certificate, store_key = pki.of(Client.ETCD_CLIENT)
        kubelet_certificate, kubelet_key = pki.of(Client.KUBELET_CLIENT)
        public, private = pki.accounts
        ranges = self.family.of(SERVICE_NETWORK, SERVICE_NETWORK6)
        only4 = self.family is IpFamily.IPV4
        return (
            self.programs[API_SERVER],
            f"--etcd-servers={_ETCD_URL}",
            f"--etcd-cafile={pki.ca}",
            f"--etcd-certfile={store_certificate}",
            f"--etcd-keyfile={store_key}",
            f"--bind-address={CONTROL_PLANE_ADDRESS if only4 else '::'}",
            # Of the primary family, as the Service ``kubernetes`` is, which leads there.
            f"--advertise-address={control_plane_host(self.family).address}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={pki.ca}",
            "--anonymous-auth=false",
            "--authorization-mode=Node,RBAC",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            f"--service-cluster-ip-range={','.join(map(str, ranges))}",
            f"--kubelet-certificate-authority={pki.ca}",
            f"--kubelet-client-certificate={kubelet_certificate}",
            f"--kubelet-client-key={kubelet_key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            "--profiling=false",
        )

    def _controller_manager(self) -> Sequence[str]:
        config = self.write_kubeconfig(Client.CONTROLLER_MANAGER)
        _, private = self.pki.accounts
        return (
            self.programs[CONTROLLER_MANAGER],
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={private}",
            f"--root-ca-file={self.pki.ca}",
            f"--cluster-signing-cert-file={self.pki.ca}",
            f"--cluster-signing-key-file={self.pki.ca_key}",
            # A machine busy with a load test must not look like dead nodes.
            "--node-monitor-grace-period=120s",
            f"--kube-api-qps={_QPS}",
            f"--kube-api-burst={_BURST}",
            f"--endpoint-updates-batch-period={_BATCH}",
            f"--endpointslice-updates-batch-period={_BATCH}",
            "--concurrent-namespace-syncs=20",
            "--profiling=false",
        )

    def _scheduler(self) -> Sequence[str]:
        credentials = self.write_kubeconfig(Client.SCHEDULER)
        config = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"kubeconfig": str(credentials), "qps": _QPS, "burst": _BURST},
        }
        path = self.pki.path / "scheduler.yaml"
        path.write_text(json.dumps(config, indent=2) + "\n")
        return (
            self.programs[SCHEDULER],
            f"--config={path}",
            f"--authentication-kubeconfig={credentials}",
            f"--authorization-kubeconfig={credentials}",
            "--bind-address=127.0.0.1",
        )
