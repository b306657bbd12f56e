"""Pods, namespaces and policies as the API server has them now: one thread a kind watches."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from harness.enforcers.kube_router_model.world import Manifest, World

PAUSE = 1.0
"""Seconds until the API server is asked again after a failure."""

KINDS = ("pods", "namespaces", "policies")
Call = Callable[..., Any]


class Mirror:
    """Follows the cluster from :meth:`start` on, for as long as the process lives."""

    def __init__(self, kubeconfig: Path, say: Callable[[str], None]) -> None:
        """Read the kubeconfig; ``say`` takes a line about a failure."""
        connection: Any = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        core, networking = client.CoreV1Api(connection), client.NetworkingV1Api(connection)
        self._calls: dict[str, Call] = {
            "pods": core.list_pod_for_all_namespaces,
            "namespaces": core.list_namespace,
            "policies": networking.list_network_policy_for_all_namespaces,
        }
        self._say = say
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, Manifest]] = {}

    def start(self) -> None:
        """Start a thread for each kind."""
        for kind in KINDS:
            threading.Thread(target=self._follow, args=(kind,), daemon=True).start()

    def world(self) -> World | None:
        """Return the cluster as it is known now; None until every kind was listed."""
        with self._lock:
            if len(self._objects) < len(KINDS):
                return None
            pods, namespaces, policies = (list(self._objects[kind].values()) for kind in KINDS)
        return World.of(pods, namespaces, policies)

    def _follow(self, kind: str) -> None:
        while True:
            try:
                self._list_and_watch(kind)
            except (ApiException, HTTPError, OSError, ValueError) as problem:
                self._say(f"cannot follow {kind}: {' '.join(str(problem).split())}")
                time.sleep(PAUSE)

    def _list_and_watch(self, kind: str) -> None:
        """List, then watch until the server wants another list."""
        call = self._calls[kind]
        listed = json.loads(call(_preload_content=False).data)
        with self._lock:
            self._objects[kind] = {_key(one): one for one in listed["items"]}
        version = listed["metadata"]["resourceVersion"]
        while version:
            version = self._watch(kind, call, version)

    def _watch(self, kind: str, call: Call, version: str) -> str:
        """Follow one watch to its end; return where the next begins, nothing to list again."""
        options = {"resource_version": version, "allow_watch_bookmarks": True}
        for event in _events(call(watch=True, _preload_content=False, **options)):
            thing = event["object"]
            if event["type"] == "ERROR":
                return ""
            version = thing["metadata"]["resourceVersion"]
            with self._lock:
                self._take(kind, event["type"], thing)
        return version

    def _take(self, kind: str, what: str, thing: Manifest) -> None:
        match what:
            case "ADDED" | "MODIFIED":
                self._objects[kind][_key(thing)] = thing
            case "DELETED":
                self._objects[kind].pop(_key(thing), None)


def _events(response: Any) -> Iterator[dict[str, Any]]:
    try:
        yield from (json.loads(line) for line in response if line.strip())
    finally:
        response.close()


def _key(thing: Manifest) -> str:
    return f"{thing['metadata'].get('namespace', '')}/{thing['metadata']['name']}"
