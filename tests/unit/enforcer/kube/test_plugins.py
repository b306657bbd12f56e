"""Credential plugins: when they are run, what they are told, and how their failures read."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from enforcer.errors import SettingsError
from enforcer.kube import connect
from enforcer.kube.failures import PluginError, StatusError
from enforcer.model.changes import Kind

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"
NEXT = "token-N"  # N: the number of the run
EMPTY = {"metadata": {"resourceVersion": "1"}, "items": []}


class Server:
    """An API server that accepts some tokens and remembers which were sent."""

    def __init__(self) -> None:
        self.accepted = {"token-1", "token-2", "token-3"}
        self.sent: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.sent.append(token)
        return web.json_response(EMPTY, status=200 if token in self.accepted else 401)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Return a server that runs."""
    made = Server()
    application = web.Application()
    application.router.add_get("/{path:.*}", made.answer)
    started = TestServer(application)
    await started.start_server()
    made.url = str(started.make_url("/"))
    yield made
    await started.close()


def plugin(folder: Path, version: str = V1, **status: str) -> str:
    """Write a plugin that gives token-1, then token-2, ...; it keeps what it was told."""
    body = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})
    path = folder / "plugin"
    path.write_text(
        "#!/bin/sh\n"
        f"echo x >> {folder}/runs\n"
        f'echo "$KUBERNETES_EXEC_INFO" > {folder}/told\n'
        f'echo "$EXTRA $1" > {folder}/given\n'
        f"n=$(wc -l < {folder}/runs)\n"
        f"echo '{body}' | sed \"s/token-N/token-$n/\"\n"
    )
    path.chmod(0o700)
    return str(path)


def runs(folder: Path) -> int:
    """Return how often the plugin was run."""
    path = folder / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def kubeconfig(folder: Path, server: str, given: Any) -> Path:
    """Write a kubeconfig whose user has an exec entry."""
    content = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"exec": given}}],
    }
    path = folder / "config"
    path.write_text(json.dumps(content))
    return path


async def ask(server: Server, folder: Path, given: Any, times: int = 1) -> None:
    """List pods some times through one session."""
    async with connect(kubeconfig(folder, server.url, given)) as api:
        for _ in range(times):
            await api.list_page(Kind.PODS, {})


def stamp(delta: timedelta) -> str:
    """Return a time from now as the API writes it."""
    return (datetime.now(UTC) + delta).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("version", [V1, V1BETA1])
async def test_a_token_is_kept_until_it_expires(
    version: str, server: Server, tmp_path: Path
) -> None:
    """The plugin is run once for many requests."""
    expires = stamp(timedelta(hours=1))
    command = plugin(tmp_path, version, token=NEXT, expirationTimestamp=expires)

    await ask(server, tmp_path, {"command": command, "apiVersion": version}, times=3)

    assert (server.sent, runs(tmp_path)) == (["token-1"] * 3, 1)


async def test_a_token_that_has_expired_is_renewed_before_it_is_sent(
    server: Server, tmp_path: Path
) -> None:
    """And a little before: the server's clock may be ahead."""
    expires = stamp(timedelta(seconds=5))
    command = plugin(tmp_path, token=NEXT, expirationTimestamp=expires)

    await ask(server, tmp_path, {"command": command, "apiVersion": V1}, times=2)

    assert server.sent == ["token-1", "token-2"]


async def test_a_token_that_is_refused_is_renewed_once(server: Server, tmp_path: Path) -> None:
    """401 asks the plugin again, within the same request."""
    server.accepted = {"token-2"}
    command = plugin(tmp_path, token=NEXT)

    await ask(server, tmp_path, {"command": command, "apiVersion": V1}, times=2)

    assert server.sent == ["token-1", "token-2", "token-2"]


async def test_a_second_refusal_is_the_answer(server: Server, tmp_path: Path) -> None:
    """No loop between a server that refuses and a plugin that gives."""
    server.accepted = set()
    command = plugin(tmp_path, token=NEXT)

    with pytest.raises(StatusError, match="401"):
        await ask(server, tmp_path, {"command": command, "apiVersion": V1})

    assert len(server.sent) == 2


async def test_it_is_told_what_the_kubeconfig_says(server: Server, tmp_path: Path) -> None:
    """Arguments, environment and, where asked for, the cluster."""
    given = {
        "command": plugin(tmp_path, token=NEXT),
        "apiVersion": V1,
        "args": ["arg"],
        "env": [{"name": "EXTRA", "value": "more"}],
        "provideClusterInfo": True,
    }

    await ask(server, tmp_path, given)

    told = json.loads((tmp_path / "told").read_text())
    assert (told["apiVersion"], told["spec"]["interactive"]) == (V1, False)
    assert told["spec"]["cluster"]["server"] == server.url
    assert (tmp_path / "given").read_text() == "more arg\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no such account >&2; exit 3", ["ended with 3: no such account", "run: login"]),
        ("echo hello", ["printed no ExecCredential"]),
        (f"""echo '{{"apiVersion": "{V1BETA1}", "kind": "ExecCredential"}}'""", ["not " + V1]),
        (f"""echo '{{"apiVersion": "{V1}", "kind": "ExecCredential"}}'""", ["neither a token"]),
    ],
)
async def test_a_plugin_that_fails_is_told_with_its_words(
    script: str, words: list[str], server: Server, tmp_path: Path
) -> None:
    """It is an error of the API, which is tried again later, and never the end of the daemon."""
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    given = {"command": str(path), "apiVersion": V1, "installHint": "run: login"}

    with pytest.raises(PluginError) as raised:
        await ask(server, tmp_path, given)

    assert all(word in str(raised.value) for word in words)
    assert server.sent == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"command": "nowhere-to-be-found", "apiVersion": V1, "installHint": "get it"}, "get it"),
        ({"command": "sh", "apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1"),
        ({"command": "sh", "apiVersion": V1, "interactiveMode": "Always"}, "interactiveMode"),
        ({"apiVersion": V1}, "command"),
        ({"command": "./beside", "apiVersion": V1}, "beside is not installed"),
    ],
)
async def test_what_cannot_work_is_said_at_the_start(
    given: Any, words: str, tmp_path: Path
) -> None:
    """In the kubeconfig's terms."""
    with pytest.raises(SettingsError, match="user 'u': exec") as raised:
        async with connect(kubeconfig(tmp_path, "https://192.0.2.1", given)):
            pass

    assert words in str(raised.value)


async def test_the_environment_is_handed_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin finds its own settings where a shell would."""
    monkeypatch.setenv("EXTRA", "inherited")
    given = {"command": plugin(tmp_path, token=NEXT), "apiVersion": V1}

    await ask(server, tmp_path, given)

    assert (tmp_path / "given").read_text() == "inherited \n"
    assert "KUBERNETES_EXEC_INFO" not in os.environ
