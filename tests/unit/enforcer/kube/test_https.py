"""TLS with a real server: both sides show a certificate, and both look at it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from enforcer.kube import connect
from enforcer.kube.failures import UnreachableError
from enforcer.model.changes import Kind

HERE = Path(__file__).parent
CERTIFICATE, KEY = str(HERE / "certificate.pem"), str(HERE / "key.pem")
BOTH = {"client-certificate": CERTIFICATE, "client-key": KEY}


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """An API server that asks for a client certificate of its own CA."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "items": []})

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
    context.load_cert_chain(CERTIFICATE, KEY)
    context.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    started = TestServer(application, scheme="https")
    await started.start_server(ssl=context)
    yield started
    await started.close()


async def ask(server: TestServer, folder: Path, cluster: Any, user: Any) -> bytes:
    """List pods with these entries of a kubeconfig."""
    url = str(server.make_url("/"))
    content = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    (folder / "config").write_text(json.dumps(content))
    async with connect(folder / "config") as client:
        return await client.list_page(Kind.PODS, {})


@pytest.mark.parametrize(
    "cluster",
    [
        {"certificate-authority": CERTIFICATE, "tls-server-name": "test"},
        {"insecure-skip-tls-verify": True},
    ],
)
async def test_certificates_that_fit(cluster: Any, server: TestServer, tmp_path: Path) -> None:
    """The server's certificate is checked by its name, or not at all when that is asked for."""
    assert b"items" in await ask(server, tmp_path, cluster, BOTH)


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({}, BOTH),
        ({"certificate-authority": CERTIFICATE}, BOTH),
        ({"certificate-authority": CERTIFICATE, "tls-server-name": "test"}, {}),
    ],
    ids=["unknown CA", "other name", "no client certificate"],
)
async def test_certificates_that_do_not(
    cluster: Any, user: Any, server: TestServer, tmp_path: Path
) -> None:
    """One error that says so; nothing is read from a server that is not the right one."""
    with pytest.raises(UnreachableError):
        await ask(server, tmp_path, cluster, user)
