"""What the API says is there, as raw manifests, by the official client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kubernetes import client, config

_LISTS = (
    ("Namespace", "list_namespace"),
    ("Node", "list_node"),
    ("Pod", "list_pod_for_all_namespaces"),
    ("Service", "list_service_for_all_namespaces"),
)


def read_cluster(kubeconfig: Path) -> list[dict[str, Any]]:
    """List Namespaces, Nodes, Pods and Services."""
    with config.new_client_from_config(str(kubeconfig)) as connection:  # type: ignore[no-untyped-call]
        core = client.CoreV1Api(connection)
        return [
            {"kind": kind, **item}
            for kind, method in _LISTS
            for item in json.loads(getattr(core, method)(_preload_content=False).data)["items"]
        ]
