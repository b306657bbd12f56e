"""Kubeconfig file -> :class:`~enforcer.kube.access.Access`, with all mistakes at once.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from enforcer.errors import SettingsError
from enforcer.kube.access import (
    Access,
    Anonymous,
    Credentials,
    ExecPlugin,
    Password,
    StaticToken,
    TokenFile,
    url_mistake,
)
from enforcer.kube.tls import add_client_certificate, client_context


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str | None = None
    proxy_url: str | None = None


class _User(msgspec.Struct, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    exec: object = None
    auth_provider: object = None
    impersonate: object = msgspec.field(default=None, name="as")


class _Variable(msgspec.Struct):
    name: str
    value: str


class _Exec(msgspec.Struct):
    command: str
    apiVersion: str  # noqa: N815  # the API's name
    args: list[str] | None = None
    env: list[_Variable] | None = None
    installHint: str | None = None  # noqa: N815  # the API's name
    provideClusterInfo: bool = False  # noqa: N815  # the API's name
    interactiveMode: str | None = None  # noqa: N815  # the API's name


class _Context(msgspec.Struct):
    cluster: str = ""
    user: str = ""


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster | None = None


class _NamedUser(msgspec.Struct):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context | None = None


class _File(msgspec.Struct, rename="kebab"):
    current_context: str = ""
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_UNSUPPORTED = {
    "auth-provider": "was removed from Kubernetes 1.26; use a token, a tokenFile or a client "
    "certificate",
    "as": "impersonation is not supported; use the credentials of the user itself",
}

_Found = TypeVar("_Found")


def load_kubeconfig(path: Path, master: str | None = None) -> Access:
    """Read the current context of a kubeconfig; ``master`` stands in for its server's URL.

    SettingsError with every mistake in it, one a line.
    """
    return _Reader(path).access(_parse(path), master)


def _parse(path: Path) -> _File:
    try:
        content = yaml.safe_load(path.read_bytes()) or {}
        return msgspec.convert(content, _File)
    except OSError as error:
        raise SettingsError(f"kubeconfig {path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        place = " ".join(str(error).split())
        raise SettingsError(f"kubeconfig {path}: is no YAML: {place}") from error
    except msgspec.ValidationError as error:
        raise SettingsError(f"kubeconfig {path}: {error}") from error


class _Reader:
    """Reads one kubeconfig and keeps every mistake."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mistakes: list[str] = []

    def access(self, file: _File, master: str | None) -> Access:
        context = self._context(file)
        clusters = {item.name: item.cluster or _Cluster() for item in file.clusters or ()}
        users = {item.name: item.user or _User() for item in file.users or ()}
        cluster = self._named("cluster", clusters, context.cluster) or _Cluster()
        user = (self._named("user", users, context.user) if context.user else None) or _User()
        found = Access(
            server=self._server(cluster, f"cluster {context.cluster!r}", master),
            tls=self._tls(cluster, user, context),
            tls_server_name=cluster.tls_server_name,
            credentials=self._credentials(user, cluster, f"user {context.user!r}"),
            proxy=cluster.proxy_url,
        )
        if self._mistakes:
            lines = (f"kubeconfig {self._path}: {mistake}" for mistake in self._mistakes)
            raise SettingsError("\n".join(lines))
        return found

    def _context(self, file: _File) -> _Context:
        contexts = {item.name: item.context or _Context() for item in file.contexts or ()}
        if not file.current_context:
            self._mistakes.append("current-context is not set (kubectl config use-context NAME)")
            # Whatever else is wrong, mistakes in the only context are worth saying too.
            return next(iter(contexts.values())) if len(contexts) == 1 else _Context()
        return self._named("context", contexts, file.current_context) or _Context()

    def _named(self, what: str, found: dict[str, _Found], name: str) -> _Found | None:
        if name not in found and not (self._mistakes and not name):
            there = ", ".join(sorted(found)) or "none"
            self._mistakes.append(f"there is no {what} {name!r} (there is: {there})")
        return found.get(name)

    def _server(self, cluster: _Cluster, where: str, master: str | None) -> str:
        server = master or cluster.server
        mistake = url_mistake(server)
        if mistake and not (self._mistakes and not server):
            self._mistakes.append(f"{where}: server: {mistake}")
        return server.rstrip("/")

    def _tls(self, cluster: _Cluster, user: _User, context: _Context) -> ssl.SSLContext | None:
        where = f"cluster {context.cluster!r}: certificate-authority"
        ca = self._data(where, cluster.certificate_authority_data, cluster.certificate_authority)
        verify = not cluster.insecure_skip_tls_verify
        if ca and not verify:
            self._mistakes.append(f"{where}: makes no sense with insecure-skip-tls-verify")
        tls = self._try(where, lambda: client_context(ca, verify=verify))
        self._client_certificate(user, f"user {context.user!r}", tls)
        return tls

    def _client_certificate(self, user: _User, where: str, tls: ssl.SSLContext | None) -> None:
        certificate = self._data(
            f"{where}: client-certificate", user.client_certificate_data, user.client_certificate
        )
        key = self._data(f"{where}: client-key", user.client_key_data, user.client_key)
        if bool(certificate) is not bool(key):
            self._mistakes.append(f"{where}: client-certificate and client-key need each other")
        elif certificate and key and tls:
            add = add_client_certificate
            self._try(f"{where}: client-certificate", lambda: add(tls, certificate, key))

    def _credentials(self, user: _User, cluster: _Cluster, where: str) -> Credentials:
        given = {"auth-provider": user.auth_provider, "as": user.impersonate}
        for name, value in given.items():
            if value:
                self._mistakes.append(f"{where}: {name}: {_UNSUPPORTED[name]}")
        plugin = self._plugin(user.exec, cluster, f"{where}: exec") if user.exec else None
        if user.token_file:
            path = self._beside(user.token_file)
            self._read(f"{where}: tokenFile", path)
            return TokenFile(path)
        if user.token:
            return StaticToken(user.token)
        if user.username:
            return Password(user.username, user.password)
        return plugin or Anonymous()

    def _plugin(self, given: object, cluster: _Cluster, where: str) -> ExecPlugin | None:
        try:
            found = msgspec.convert(given, _Exec)
        except msgspec.ValidationError as error:
            self._mistakes.append(f"{where}: {error}")
            return None
        if found.apiVersion not in _EXEC_VERSIONS:
            versions = " and ".join(_EXEC_VERSIONS)
            self._mistakes.append(
                f"{where}: apiVersion: {found.apiVersion!r}; known are {versions}"
            )
        if found.interactiveMode == "Always":
            self._mistakes.append(
                f"{where}: interactiveMode: Always needs a person, this is a daemon"
            )
        command = str(self._beside(found.command)) if "/" in found.command else found.command
        if shutil.which(command) is None:
            hint = f": {found.installHint}" if found.installHint else ""
            self._mistakes.append(f"{where}: {command} is not installed here{hint}")
        return ExecPlugin(
            command=command,
            api_version=found.apiVersion,
            arguments=tuple(found.args or ()),
            environment=tuple((item.name, item.value) for item in found.env or ()),
            install_hint=found.installHint or "",
            cluster=self._told(cluster) if found.provideClusterInfo else (),
        )

    def _told(self, cluster: _Cluster) -> tuple[tuple[str, str | bool], ...]:
        """Return what a plugin is told of the cluster; mistakes in it are told elsewhere."""
        data = cluster.certificate_authority_data
        if not data and cluster.certificate_authority:
            with contextlib.suppress(OSError):
                content = self._beside(cluster.certificate_authority).read_bytes()
                data = base64.b64encode(content).decode()
        told: dict[str, str | bool] = {
            "server": cluster.server,
            "certificate-authority-data": data,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
            "tls-server-name": cluster.tls_server_name or "",
            "proxy-url": cluster.proxy_url or "",
        }
        return tuple((name, value) for name, value in told.items() if value)

    def _data(self, where: str, data: str, file: str) -> bytes | None:
        """Return what is given inline in base64, else in a file; inline wins, as for kubectl."""
        if data:
            return self._try(f"{where}-data", lambda: _from_base64(data))
        return self._read(where, self._beside(file)) if file else None

    def _beside(self, file: str) -> Path:
        """Files are named relative to the kubeconfig."""
        return self._path.parent / file

    def _read(self, where: str, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except OSError as error:
            self._mistakes.append(f"{where}: {path}: {error.strerror}")
            return None

    def _try(self, where: str, work: Callable[[], _Found]) -> _Found | None:
        try:
            return work()
        except ValueError as error:
            self._mistakes.append(f"{where}: {error}")
            return None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"is no base64 ({error})") from error
