"""What a person does with kubectl, by the official client: look at everything, label things."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from kubernetes import client, config

_LISTS = (
    ("Namespace", "list_namespace"),
    ("Node", "list_node"),
    ("Pod", "list_pod_for_all_namespaces"),
    ("Service", "list_service_for_all_namespaces"),
)
_NOT_FOUND = 404


class Api(Protocol):
    """What the matrix asks of the API server beside applying and deleting."""

    def world(self) -> list[dict[str, Any]]:
        """List Namespaces, Nodes, Pods and Services."""

    def label_pod(self, namespace: str, name: str, labels: Mapping[str, str | None]) -> None:
        """Set labels of a pod; ``None`` takes one away."""

    def label_namespace(self, name: str, labels: Mapping[str, str | None]) -> None:
        """Set labels of a namespace; ``None`` takes one away."""

    def phase_of(self, namespace: str, name: str) -> str:
        """Return a pod's phase; empty where there is no such pod."""

    def close(self) -> None:
        """Close the connection."""


class KubernetesApi:
    """The real thing."""

    def __init__(self, kubeconfig: Path) -> None:
        """Connect with a kubeconfig."""
        self._client = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self._core = client.CoreV1Api(self._client)

    def world(self) -> list[dict[str, Any]]:
        """List Namespaces, Nodes, Pods and Services."""
        return [
            {"kind": kind, **item}
            for kind, method in _LISTS
            for item in json.loads(getattr(self._core, method)(_preload_content=False).data)[
                "items"
            ]
        ]

    def label_pod(self, namespace: str, name: str, labels: Mapping[str, str | None]) -> None:
        """Set labels of a pod; ``None`` takes one away."""
        body = {"metadata": {"labels": dict(labels)}}
        self._core.patch_namespaced_pod(name, namespace, body, _preload_content=False)

    def label_namespace(self, name: str, labels: Mapping[str, str | None]) -> None:
        """Set labels of a namespace; ``None`` takes one away."""
        body = {"metadata": {"labels": dict(labels)}}
        self._core.patch_namespace(name, body, _preload_content=False)

    def phase_of(self, namespace: str, name: str) -> str:
        """Return a pod's phase; empty where there is no such pod."""
        try:
            answer: Any = self._core.read_namespaced_pod(name, namespace, _preload_content=False)
        except client.ApiException as error:
            if error.status == _NOT_FOUND:
                return ""
            raise
        return str(json.loads(answer.data).get("status", {}).get("phase", "Pending"))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def read_cluster(kubeconfig: Path) -> list[dict[str, Any]]:
    """List Namespaces, Nodes, Pods and Services, once."""
    api = KubernetesApi(kubeconfig)
    try:
        return api.world()
    finally:
        api.close()
