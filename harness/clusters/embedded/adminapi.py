"""The little that the supervisor says to a real API server while it comes up."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.clusters.embedded.addresses import API_PORT, CONTROL_PLANE_ADDRESS
from harness.clusters.embedded.pki import Client, Pki, client_context

_PATIENCE = 10.0
_POLL_SECONDS = 0.05
_OK, _CREATED, _CONFLICT = 200, 201, 409
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_COLLECTIONS = {
    "ClusterRole": f"{_RBAC}/clusterroles",
    "ClusterRoleBinding": f"{_RBAC}/clusterrolebindings",
    "ValidatingAdmissionPolicy": f"{_ADMISSION}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{_ADMISSION}/validatingadmissionpolicybindings",
}


class AdminApi:
    """Requests as the cluster's administrator, one connection each."""

    def __init__(self, pki: Pki) -> None:
        """Take the administrator's certificate."""
        self._tls = client_context(pki, Client.ADMIN)

    def wait_ready(self, timeout: float, log: Path) -> None:
        """Return once the API server says that it is ready; TimeoutError after ``timeout``."""
        deadline = time.monotonic() + timeout
        said = "nothing"
        while time.monotonic() < deadline:
            try:
                code, said = self._ask("GET", "/readyz")
            except OSError as error:
                said = str(error)
            else:
                if code == _OK:
                    return
            time.sleep(_POLL_SECONDS)
        message = f"kube-apiserver is not ready after {timeout:.0f} s ({said[:300]}); see {log}"
        raise TimeoutError(message)

    def create(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Create objects; those that are there already are fine."""
        for manifest in manifests:
            code, said = self._ask("POST", _COLLECTIONS[manifest["kind"]], manifest)
            if code not in {_CREATED, _CONFLICT}:
                message = f"cannot create {manifest['kind']}: {code} {said[:300]}"
                raise OSError(message)

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        link = http.client.HTTPSConnection(
            str(CONTROL_PLANE_ADDRESS), API_PORT, timeout=_PATIENCE, context=self._tls
        )
        try:
            data = None if body is None else json.dumps(body)
            link.request(method, path, data, {"Content-Type": "application/json"})
            answer = link.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            link.close()
