"""Credential plugins: a program of the kubeconfig that prints a token or a client certificate.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from enforcer.kube.access import ExecPlugin
from enforcer.kube.failures import PluginError
from enforcer.kube.tls import add_client_certificate

SECONDS = 60.0
"""How long a plugin may take; one that asks a person would never end."""

MARGIN = timedelta(seconds=10)
"""Credentials are renewed this long before they expire."""

_SAID = 300


class _Status(msgspec.Struct):
    token: str = ""
    clientCertificateData: str = ""  # noqa: N815  # the API's name
    clientKeyData: str = ""  # noqa: N815  # the API's name
    expirationTimestamp: datetime | None = None  # noqa: N815  # the API's name


class _Credential(msgspec.Struct):
    apiVersion: str  # noqa: N815  # the API's name
    kind: str
    status: _Status | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """What a plugin has given; ``token`` is empty where it gave a client certificate alone."""

    token: str
    expires: datetime | None

    def is_fresh(self, now: datetime) -> bool:
        """Whether it can still be used."""
        return self.expires is None or now < self.expires - MARGIN


class Plugin:
    """Runs a plugin when credentials are needed, and keeps them until they expire or fail."""

    def __init__(self, spec: ExecPlugin, tls: ssl.SSLContext | None) -> None:
        """Take how to run it; client certificates go into ``tls``."""
        self._spec = spec
        self._tls = tls
        self._issued: Issued | None = None
        self._lock = asyncio.Lock()

    async def credentials(self) -> Issued:
        """Return credentials, new ones where the old have expired; or raise PluginError."""
        async with self._lock:
            if self._issued is None or not self._issued.is_fresh(datetime.now(UTC)):
                self._issued = await self._run()
            return self._issued

    def refused(self, issued: Issued) -> None:
        """Note that the API server did not accept these: the next request asks for new ones."""
        if self._issued is issued:
            self._issued = None

    async def _run(self) -> Issued:
        command = (self._spec.command, *self._spec.arguments)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment(),
            )
        except OSError as error:
            raise self._error(f"cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(SECONDS):
                output, said = await process.communicate()
        except TimeoutError as error:
            raise self._error(f"did not end within {SECONDS:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            words = " ".join(said.decode(errors="replace").split())[:_SAID]
            raise self._error(f"ended with {process.returncode}: {words or 'it said nothing'}")
        return self._issue(output)

    def _environment(self) -> Mapping[str, str]:
        spec: dict[str, Any] = {"interactive": False}
        if self._spec.cluster:
            spec["cluster"] = dict(self._spec.cluster)
        info = {"apiVersion": self._spec.api_version, "kind": "ExecCredential", "spec": spec}
        given = dict(self._spec.environment)
        return {**os.environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(info)}

    def _issue(self, output: bytes) -> Issued:
        try:
            found = msgspec.json.decode(output, type=_Credential)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._error(f"printed no ExecCredential: {error}") from error
        status = found.status or _Status()
        if found.kind != "ExecCredential" or found.apiVersion != self._spec.api_version:
            was = f"{found.apiVersion} {found.kind}"
            raise self._error(f"printed {was}, not {self._spec.api_version} ExecCredential")
        if status.clientCertificateData and status.clientKeyData:
            self._present(status)
        elif not status.token:
            raise self._error("gave neither a token nor a client certificate with its key")
        expires = status.expirationTimestamp
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=UTC)
        return Issued(status.token, expires)

    def _present(self, status: _Status) -> None:
        certificate, key = status.clientCertificateData.encode(), status.clientKeyData.encode()
        try:
            if self._tls is not None:
                add_client_certificate(self._tls, certificate, key)
        except ValueError as error:
            raise self._error(f"gave a client certificate that {error}") from error

    def _error(self, what: str) -> PluginError:
        hint = f" ({self._spec.install_hint})" if self._spec.install_hint else ""
        return PluginError(f"the kubeconfig's credential plugin {self._spec.command} {what}{hint}")
