"""Find the API server: in a kubeconfig, or as a pod finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from enforcer.errors import SettingsError
from enforcer.kube.access import Access, TokenFile, url_mistake
from enforcer.kube.kubeconfig import load_kubeconfig
from enforcer.kube.tls import client_context

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token and the cluster's CA:
https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/"""


def load_config(kubeconfig: Path | None, master: str | None = None) -> Access:
    """Find the API server: ``master`` overrides its URL; without a kubeconfig, as a pod does.

    SettingsError with every mistake, one a line.
    """
    mistake = url_mistake(master) if master else None
    if mistake:
        raise SettingsError(f"--master: {mistake}")
    if kubeconfig is not None:
        return load_kubeconfig(kubeconfig, master)
    if master and not SERVICE_ACCOUNT.exists():
        return Access(master.rstrip("/"), client_context(None))
    return load_in_cluster(os.environ, SERVICE_ACCOUNT, master)


def load_in_cluster(
    environment: Mapping[str, str], account: Path, master: str | None = None
) -> Access:
    """Find the API server from inside a pod; SettingsError if this is none."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not master and not host:
        raise SettingsError(
            "--kubeconfig: not given, and this is no pod (KUBERNETES_SERVICE_HOST is not set)"
        )
    token, ca = account / "token", account / "ca.crt"
    mistakes = [
        f"{file}: cannot be read; mount the ServiceAccount's token, or give --kubeconfig"
        for file in (token, ca)
        if not os.access(file, os.R_OK)
    ]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    try:
        tls = client_context(ca.read_bytes())
    except ValueError as error:
        raise SettingsError(f"{ca}: {error}") from error
    server = master or f"https://{f'[{host}]' if ':' in host else host}:{port}"
    return Access(server.rstrip("/"), tls, credentials=TokenFile(token))
