"""Where Services and pods are: asked of the API server by the official client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from kubernetes import client, config


class Addresses(Protocol):
    """What the API server says about addresses in one namespace."""

    def services(self) -> dict[str, str]:
        """Return the ClusterIP of every Service by its name."""

    def pod(self, name: str) -> str:
        """Return the address of a pod."""


class ApiAddresses:
    """Addresses as the API server of a kubeconfig says them.

    The answers are read as JSON: the client's own models take milliseconds an object.
    """

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._namespace = namespace
        load = config.new_client_from_config
        api = load(config_file=str(kubeconfig))  # type: ignore[no-untyped-call]
        self._core: Any = client.CoreV1Api(api)

    def services(self) -> dict[str, str]:
        """Return the ClusterIP of every Service by its name, headless ones left out."""
        read = self._core.list_namespaced_service
        items = json.loads(read(self._namespace, _preload_content=False).data)["items"]
        found = ((item["metadata"]["name"], item["spec"].get("clusterIP")) for item in items)
        return {name: address for name, address in found if address not in {None, "", "None"}}

    def pod(self, name: str) -> str:
        """Return the address of a pod."""
        read = self._core.read_namespaced_pod
        answer = read(name, self._namespace, _preload_content=False)
        return str(json.loads(answer.data)["status"]["podIP"])
