"""The API server over HTTP: four methods, and the only import of an HTTP client for them."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, assert_never

import aiohttp
import msgspec

from enforcer import __version__
from enforcer.kube.access import (
    Access,
    Anonymous,
    Credentials,
    ExecPlugin,
    Password,
    StaticToken,
    TokenFile,
)
from enforcer.kube.config import load_config
from enforcer.kube.failures import UNAUTHORIZED, StalledError, StatusError, UnreachableError
from enforcer.kube.plugins import Issued, Plugin
from enforcer.kube.policies import MALFORMED
from enforcer.kube.proxies import proxy_for
from enforcer.model.changes import Kind

_PATHS = {
    Kind.PODS: "/api/v1/pods",
    Kind.NAMESPACES: "/api/v1/namespaces",
    Kind.NODES: "/api/v1/nodes",
    Kind.POLICIES: "/apis/networking.k8s.io/v1/networkpolicies",
}
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
"""Silence after which a request that is no watch has failed; the API server's own limit."""

Query = Mapping[str, str]


class Api(Protocol):
    """All that is asked of an API server. Errors are :mod:`enforcer.kube.failures`."""

    async def list_page(self, kind: Kind, query: Query) -> bytes:
        """Return the JSON of one page of a list."""

    def watch(self, kind: Kind, query: Query, stall: float) -> AsyncGenerator[bytes, None]:
        """Return the lines of a watch as they come; StalledError after ``stall`` s of silence.

        The first is empty and comes at once: the server has accepted the watch.
        """

    async def get(self, path: str) -> bytes:
        """Return the JSON of any path: for discovery."""

    async def create_event(self, namespace: str, event: bytes) -> None:
        """Create an Event (JSON of ``v1``) in a namespace."""


class _Status(msgspec.Struct):
    message: str = ""


_status = msgspec.json.Decoder(_Status)


@dataclass(frozen=True, slots=True)
class _Request:
    """A request; ``what`` says for people what it is for, ``silence`` is in seconds."""

    what: str
    path: str
    query: Query
    silence: float = _ANSWER_SECONDS
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class HttpApi:
    """An API server behind an open session."""

    access: Access
    session: aiohttp.ClientSession
    plugin: Plugin | None = None

    async def list_page(self, kind: Kind, query: Query) -> bytes:
        """See :class:`Api`."""
        async with self._answer(_Request(f"list {kind.value}", _PATHS[kind], query)) as answer:
            return await answer.read()

    async def watch(self, kind: Kind, query: Query, stall: float) -> AsyncGenerator[bytes, None]:
        """See :class:`Api`."""
        watching = {**query, "watch": "true"}
        request = _Request(f"watch {kind.value}", _PATHS[kind], watching, stall)
        async with self._answer(request) as answer:
            # An object may be longer than any line that aiohttp's own readline accepts.
            rest = b""
            yield rest
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield line

    async def get(self, path: str) -> bytes:
        """See :class:`Api`."""
        async with self._answer(_Request(f"get {path}", path, {})) as answer:
            return await answer.read()

    async def create_event(self, namespace: str, event: bytes) -> None:
        """See :class:`Api`."""
        path = f"/api/v1/namespaces/{namespace}/events"
        async with self._answer(_Request("create an Event", path, {}, body=event)):
            pass

    @asynccontextmanager
    async def _answer(self, request: _Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and translate whatever goes wrong until its answer has been read."""
        what = f"{request.what} at {self.access.server}"
        try:
            async with AsyncExitStack() as stack:
                answer = await self._accepted(request, stack)
                if answer.status >= _FIRST_ERROR:
                    raise await _status_error(what, answer)
                yield answer
        except aiohttp.SocketTimeoutError as error:
            raise StalledError(f"{what}: silent for {request.silence:g} s") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{what}: {_reason(error)}") from error

    async def _accepted(self, request: _Request, stack: AsyncExitStack) -> aiohttp.ClientResponse:
        """Send a request; where a plugin's credentials are refused, once more with new ones."""
        if self.plugin is None:
            headers = _authorization(self.access.credentials)
            return await stack.enter_async_context(self._send(request, headers))
        issued = await self.plugin.credentials()
        answer = await stack.enter_async_context(self._send(request, _bearer(issued)))
        if answer.status == UNAUTHORIZED:
            self.plugin.refused(issued)
            issued = await self.plugin.credentials()
            answer = await stack.enter_async_context(self._send(request, _bearer(issued)))
        return answer

    def _send(self, request: _Request, headers: Mapping[str, str]) -> _Sending:
        return self.session.request(
            "GET" if request.body is None else "POST",
            self.access.server + request.path,
            params=dict(request.query),
            data=request.body,
            headers={**_HEADERS, **headers},
            timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=request.silence),
            ssl=self.access.tls or True,
            server_hostname=self.access.tls_server_name,
            proxy=self.access.proxy,
        )


_Sending = AbstractAsyncContextManager[aiohttp.ClientResponse]
_FIRST_ERROR = 400
_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": f"npd-enforcer/{__version__}",
}


def _authorization(credentials: Credentials) -> dict[str, str]:
    match credentials:
        case StaticToken(token):
            return {"Authorization": f"Bearer {token}"}
        case TokenFile(path):
            return {"Authorization": f"Bearer {path.read_text().strip()}"}
        case Password(username, password):
            return {"Authorization": aiohttp.BasicAuth(username, password).encode()}
        case Anonymous() | ExecPlugin():
            return {}
    assert_never(credentials)


def _bearer(issued: Issued) -> dict[str, str]:
    return {"Authorization": f"Bearer {issued.token}"} if issued.token else {}


def _reason(error: Exception) -> str:
    """Return why there was no answer; aiohttp's own text shows its objects to people."""
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    is_tls = isinstance(error, aiohttp.ClientSSLError)
    if isinstance(error, aiohttp.ClientConnectorError) and not is_tls:
        number = error.os_error.errno or 0  # that of a failed look-up is negative
        reason = os.strerror(number) if number in errno.errorcode else error.os_error.strerror
        return reason or str(error)
    return str(error) or type(error).__name__


async def _status_error(what: str, answer: aiohttp.ClientResponse) -> StatusError:
    body = await answer.read()
    try:
        message = _status.decode(body).message
    except MALFORMED:
        message = " ".join(body[:200].decode(errors="replace").split())
    wish = answer.headers.get("Retry-After", "")
    retry_after = float(wish) if wish.isdecimal() else 0.0
    return StatusError(what, answer.status, message or answer.reason or "no reason", retry_after)


@asynccontextmanager
async def connect(kubeconfig: Path | None, master: str | None = None) -> AsyncIterator[HttpApi]:
    """Open a session with the API server; nothing is sent yet.

    Without a kubeconfig as a pod does; ``master`` overrides the URL. A proxy is the kubeconfig's,
    else the environment's. SettingsError at once for
    settings that cannot work; a server that is away is no error of this function.
    """
    access = load_config(kubeconfig, master)
    access = replace(access, proxy=access.proxy or proxy_for(access.server, os.environ))
    given = access.credentials
    plugin = Plugin(given, access.tls) if isinstance(given, ExecPlugin) else None
    async with aiohttp.ClientSession() as session:
        yield HttpApi(access, session, plugin)
