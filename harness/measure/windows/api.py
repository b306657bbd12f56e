"""What the API server says of single pods: asked, and told as it changes."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from kubernetes import client as api
from kubernetes import config
from urllib3.exceptions import HTTPError

from harness.clusters.base import Cluster, PodRef
from harness.clusters.pods import is_ready


def address_of(cluster: Cluster, ref: PodRef) -> str:
    """Return a pod's address; empty while it has none."""
    with _connected(cluster) as core:
        raw = core.read_namespaced_pod(ref.name, ref.namespace, _preload_content=False)
        return _address(json.loads(raw.data))


class PodWatch:
    """When the pods of a namespace were first seen with an address, and which Ready, by a watch.

    A thread of its own notes the moment (seconds of the monotonic clock) at which it hears so.
    """

    def __init__(self) -> None:
        """Know of none."""
        self._news = threading.Condition()
        self._addresses: dict[str, str] = {}
        self._addressed: dict[str, float] = {}
        self._ready: set[str] = set()

    def wait_address(self, ref: PodRef, timeout: float) -> tuple[str, float] | None:
        """Return a pod's address and when it was seen; None where none comes in time."""
        with self._news:
            if not self._news.wait_for(lambda: ref.name in self._addressed, timeout):
                return None
            return self._addresses[ref.name], self._addressed[ref.name]

    def is_ready(self, ref: PodRef) -> bool:
        """Whether a pod was seen to be Ready."""
        return ref.name in self._ready

    def take(self, pod: dict[str, Any]) -> None:
        """Take in what the API server says of a pod, now."""
        now, name = time.monotonic(), pod["metadata"]["name"]
        with self._news:
            if address := _address(pod):
                self._addresses[name] = address
                self._addressed.setdefault(name, now)
            if is_ready(pod):
                self._ready.add(name)
            self._news.notify_all()


@contextlib.contextmanager
def watching(cluster: Cluster, namespace: str) -> Iterator[PodWatch]:
    """Watch the pods of a namespace while this is entered."""
    seen = PodWatch()
    with _connected(cluster) as core:
        listed = core.list_namespaced_pod(namespace, _preload_content=False)
        version = json.loads(listed.data)["metadata"]["resourceVersion"]
        stream = core.list_namespaced_pod(
            namespace, watch=True, resource_version=version, _preload_content=False
        )
        thread = threading.Thread(target=_hear, args=(stream, seen), daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            stream.shutdown()
            thread.join(timeout=1)


def _hear(stream: Any, seen: PodWatch) -> None:
    rest = b""
    with contextlib.suppress(HTTPError, OSError, ValueError, AttributeError):  # shut down
        for chunk in stream.stream(amt=None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                seen.take(json.loads(line)["object"])


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    with config.new_client_from_config(str(cluster.kubeconfig)) as connection:  # type: ignore[no-untyped-call]
        yield api.CoreV1Api(connection)


def _address(pod: dict[str, Any]) -> str:
    return str(pod.get("status", {}).get("podIP", ""))
