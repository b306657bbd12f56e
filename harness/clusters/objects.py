"""Creating, replacing and deleting objects through the official client, many at once.

Manifests stay JSON on their way (the client's models of 8,000 pods would cost half a minute),
and go over several connections.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from harness.clusters.base import Manifest
from harness.errors import ClusterError, UsageError

_CONNECTIONS = 8
_TOKEN_SECONDS = 365 * 24 * 3600
_FIRST = (
    "Namespace",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "NetworkPolicy",
    "Service",
)
_MOVED = {("extensions/v1beta1", "NetworkPolicy"): "networking.k8s.io/v1"}
"""Where resources live that old manifests still call by their first name."""
_NOT_FOUND, _CONFLICT, _NOT_IMPLEMENTED = 404, 409, 501


class Objects:
    """Objects of one API server."""

    def __init__(self, kubeconfig: Path) -> None:
        """Read the kubeconfig."""
        settings = client.Configuration()
        config.load_kube_config(  # type: ignore[no-untyped-call]
            str(kubeconfig), client_configuration=settings
        )
        settings.connection_pool_maxsize = _CONNECTIONS
        settings.proxy = None
        self._client = client.ApiClient(settings)
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    def apply(self, manifests: Iterable[Manifest], done: Callable[[int], None]) -> None:
        """Create objects or replace them; namespaces first, pods last."""
        self._each(manifests, self._apply, done, backwards=False)

    def delete(self, manifests: Iterable[Manifest], done: Callable[[int], None]) -> None:
        """Delete objects; those that are gone are fine."""
        self._each(manifests, self._delete, done, backwards=True)

    def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        return self._send("GET", path)

    def find(self, path: str) -> Any | None:
        """Return the JSON at a path; None where there is nothing."""
        try:
            return self._send("GET", path)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise _unanswered(error) from error

    def path(self, manifest: Manifest) -> str:
        """Return where an object is, or would be."""
        collection, name, _ = self._locate(manifest)
        return f"{collection}/{name}"

    def patch(self, path: str, changes: Manifest) -> Any:
        """Merge changes into the object at a path (RFC 7396) and return it."""
        return self._send("PATCH", path, changes, "application/merge-patch+json")

    def token(self, namespace: str, account: str) -> str:
        """Return a token of a ServiceAccount, good for as long as a cluster lives."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": account},
            "spec": {"expirationSeconds": _TOKEN_SECONDS},
        }
        token: str = self._send("POST", path, request)["status"]["token"]
        return token

    def _each(
        self,
        manifests: Iterable[Manifest],
        act: Callable[[Manifest], None],
        done: Callable[[int], None],
        *,
        backwards: bool,
    ) -> None:
        ordered = sorted(manifests, key=_rank, reverse=backwards)
        count = 0
        with ThreadPoolExecutor(_CONNECTIONS) as threads:
            for _, wave in groupby(ordered, key=_rank):
                for _ in threads.map(act, list(wave)):
                    count += 1
                    done(count)

    def _apply(self, manifest: Manifest) -> None:
        collection, name, body = self._locate(manifest)
        try:
            self._send("POST", collection, body)
        except ApiException as error:
            if error.status != _CONFLICT:
                raise _refused("create", manifest, error) from error
            self._replace(f"{collection}/{name}", body)

    def _replace(self, path: str, body: Manifest) -> None:
        live = self._send("GET", path)
        new = copy.deepcopy(body)
        new["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        match body["kind"]:
            case "Pod":  # only its metadata may change
                new["spec"] = live["spec"]
            case "Service":
                fixed = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
                kept = {key: live["spec"][key] for key in fixed if key in live["spec"]}
                new["spec"] = kept | new["spec"]
        try:
            self._send("PUT", path, new)
        except ApiException as error:
            raise _refused("replace", body, error) from error

    def _delete(self, manifest: Manifest) -> None:
        collection, name, _ = self._locate(manifest)
        try:
            self._send("DELETE", f"{collection}/{name}")
        except ApiException as error:
            if error.status != _NOT_FOUND:
                raise _refused("delete", manifest, error) from error

    def _locate(self, manifest: Manifest) -> tuple[str, str, Manifest]:
        """Return the collection's path, the object's name, and the object to send."""
        try:
            version, kind = manifest["apiVersion"], manifest["kind"]
            name = manifest["metadata"]["name"]
        except KeyError as error:
            message = f"a manifest lacks {error}: {json.dumps(manifest)[:200]}"
            raise UsageError(message) from None
        version = str(_MOVED.get((version, kind), version))
        plural, namespaced = self._plural(version, kind)
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        body = manifest | {"apiVersion": version}
        if not namespaced:
            return f"{base}/{plural}", name, body
        namespace = manifest["metadata"].get("namespace", "default")
        return f"{base}/namespaces/{namespace}/{plural}", name, body

    def _plural(self, version: str, kind: str) -> tuple[str, bool]:
        with self._lock:
            if (version, kind) not in self._plurals:
                self._discover(version)
            if (version, kind) not in self._plurals:
                message = f"{kind} of {version} is not served by this cluster's API server"
                raise UsageError(message)
            return self._plurals[version, kind]

    def _discover(self, version: str) -> None:
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        try:
            served = self._send("GET", base)["resources"]
        except ApiException as error:
            if error.status not in {_NOT_FOUND, _NOT_IMPLEMENTED}:
                raise _unanswered(error) from error
            return
        for resource in served:
            if "/" not in resource["name"]:
                named = (resource["name"], bool(resource["namespaced"]))
                self._plurals[version, resource["kind"]] = named

    def _send(
        self, method: str, path: str, body: Manifest | None = None, kind: str = "application/json"
    ) -> Any:
        headers = {"Accept": "application/json", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        try:
            # The client's own connection pool, without its models: any version of it has one.
            response = self._client.rest_client.pool_manager.request(
                method, self._client.configuration.host + path, body=data, headers=headers
            )
        except HTTPError as error:
            message = f"the API server does not answer: {error}"
            raise ClusterError(message) from error
        if response.status >= 400:  # noqa: PLR2004  # HTTP: client and server errors
            failure = ApiException(status=response.status, reason=response.reason)
            failure.body = response.data.decode(errors="replace")
            raise failure
        return json.loads(response.data)


def _rank(manifest: Manifest) -> int:
    kind = manifest.get("kind", "")
    if kind == "Pod":
        return len(_FIRST) + 1
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)


def _refused(verb: str, manifest: Manifest, error: ApiException) -> ClusterError:
    meta = manifest["metadata"]
    name = "/".join(filter(None, (meta.get("namespace"), meta["name"])))
    return ClusterError(f"cannot {verb} {manifest['kind']} {name}: {_said(error)}")


def _unanswered(error: ApiException) -> ClusterError:
    return ClusterError(f"the API server refused: {_said(error)}")


def _said(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def newest(items: Sequence[Manifest]) -> int:
    """Return the highest resourceVersion of some objects."""
    return max((int(item["metadata"]["resourceVersion"]) for item in items), default=0)
