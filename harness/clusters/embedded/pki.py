"""Where the certificates of a cluster with a real control plane lie, and who talks with which.

Everything lies in a folder that root alone may read, and goes with the cluster.
https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import base64
import enum
import ssl
from dataclasses import dataclass
from pathlib import Path

KUBELET_CLIENT = "kube-apiserver-kubelet-client"
"""Who the API server is when it asks a kubelet for logs."""


class Client(enum.Enum):
    """Who talks to the API server with a certificate: its user name and its group."""

    ADMIN = ("kubernetes-admin", "system:masters")
    """The person with kubectl."""
    HARNESS = ("npd:harness", "npd:harness")
    AGENT = ("npd:node-agent", "npd:node-agent")
    """The node agent, which plays every kubelet and our own service proxy."""
    CONTROLLER_MANAGER = ("system:kube-controller-manager", "")
    SCHEDULER = ("system:kube-scheduler", "")
    KUBE_PROXY = ("system:kube-proxy", "")
    KUBELET_CLIENT = (KUBELET_CLIENT, "system:masters")
    ETCD_CLIENT = ("kube-apiserver-etcd-client", "")

    @property
    def file_name(self) -> str:
        """What its files are called."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Pki:
    """The folder with a cluster's keys and certificates."""

    path: Path

    @property
    def ca(self) -> Path:
        """The certificate of the cluster's authority."""
        return self.path / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """Its key: for the controller that signs certificate requests."""
        return self.path / "ca.key"

    @property
    def accounts(self) -> tuple[Path, Path]:
        """The public and the private key of service account tokens."""
        return self.path / "sa.pub", self.path / "sa.key"

    def pair(self, name: str) -> tuple[Path, Path]:
        """Return a certificate and its key: of ``apiserver``, ``etcd``, ``kubelet``."""
        return self.path / f"{name}.crt", self.path / f"{name}.key"

    def of(self, client: Client) -> tuple[Path, Path]:
        """Return a client's certificate and key."""
        return self.pair(client.file_name)

    def credentials(self, client: Client) -> dict[str, str]:
        """Return a kubeconfig's ``user`` for a client."""
        certificate, key = self.of(client)
        return {
            "client-certificate-data": in_base64(certificate),
            "client-key-data": in_base64(key),
        }


def in_base64(path: Path) -> str:
    """Return a file's content as kubeconfigs carry it."""
    return base64.b64encode(path.read_bytes()).decode()


def client_context(pki: Pki, client: Client) -> ssl.SSLContext:
    """Return TLS as a client of this cluster that trusts its authority alone."""
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.load_cert_chain(*map(str, pki.of(client)))
    return context
