"""What a person does with kubectl, by the official client: look at everything, label things."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from kubernetes import client, config

from harness.clusters.existing.border import Border
from harness.clusters.kube.owned import SELECTOR

_LISTS = {
    "Namespace": "list_namespace",
    "Node": "list_node",
    "Pod": "list_pod_for_all_namespaces",
    "Service": "list_service_for_all_namespaces",
}
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

    def __init__(self, kubeconfig: Path, selector: str = "") -> None:
        """Connect with a kubeconfig. ``selector``: of labels; other objects are not looked at."""
        self._selected = {"label_selector": selector} if selector else {}
        self._client = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self._core = client.CoreV1Api(self._client)

    def world(self) -> list[dict[str, Any]]:
        """List Namespaces, Nodes, Pods and Services."""
        return [{"kind": kind, **item} for kind in _LISTS for item in self._list(kind)]

    def _list(self, kind: str) -> list[dict[str, Any]]:
        chosen = {} if kind == "Node" else self._selected  # nodes are nobody's
        answer = getattr(self._core, _LISTS[kind])(_preload_content=False, **chosen)
        items: list[dict[str, Any]] = json.loads(answer.data)["items"]
        return items

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


class GuestApi:
    """The same on a cluster of others: what is ours there, by the scenario's names."""

    def __init__(self, kubeconfig: Path, border: Border) -> None:
        """Connect with a kubeconfig; ``border`` knows both names of everything."""
        self._real = KubernetesApi(kubeconfig, SELECTOR)
        self._border = border

    def world(self) -> list[dict[str, Any]]:
        """List what is ours, and the nodes."""
        return list(self._border.from_cluster(self._real.world()))

    def label_pod(self, namespace: str, name: str, labels: Mapping[str, str | None]) -> None:
        """Set labels of a pod; ``None`` takes one away."""
        self._real.label_pod(self._border.outer(namespace), name, labels)

    def label_namespace(self, name: str, labels: Mapping[str, str | None]) -> None:
        """Set labels of a namespace; ``None`` takes one away."""
        self._real.label_namespace(self._border.outer(name), labels)

    def phase_of(self, namespace: str, name: str) -> str:
        """Return a pod's phase; empty where there is no such pod."""
        return self._real.phase_of(self._border.outer(namespace), name)

    def close(self) -> None:
        """Close the connection."""
        self._real.close()


def read_cluster(kubeconfig: Path) -> list[dict[str, Any]]:
    """List Namespaces, Nodes, Pods and Services, once."""
    api = KubernetesApi(kubeconfig)
    try:
        return api.world()
    finally:
        api.close()
