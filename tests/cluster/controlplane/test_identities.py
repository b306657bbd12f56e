"""Everyone is somebody to the API server, and may do what that one has to do."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.base import NodeRef
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.pki import Client, Pki, client_context
from harness.enforcers.bundled import RIGHTS

pytestmark = [pytest.mark.cluster, pytest.mark.optional("@control-plane")]

AS = "--as=system:serviceaccount:kube-system:enforcer-x"


def server(cluster: EmbeddedCluster) -> str:
    """Return the API server's URL on the host's loopback."""
    config = json.loads(cluster.kubeconfig.read_text())
    url: str = config["clusters"][0]["cluster"]["server"]
    return url


def code_for(url: str, context: ssl.SSLContext, method: str = "GET") -> int:
    """Return the HTTP status of an answer."""
    request = urllib.request.Request(url, method=method)  # noqa: S310  # https
    try:
        with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_stranger_is_nobody(cluster: EmbeddedCluster) -> None:
    """Without a certificate there is no answer but 401, not even for discovery."""
    pki = Pki(cluster.folder.pki)
    stranger = ssl.create_default_context(cafile=str(pki.ca))

    assert code_for(f"{server(cluster)}/api", stranger) == 401
    assert code_for(f"{server(cluster)}/api", client_context(pki, Client.ADMIN)) == 200


@pytest.mark.parametrize(
    ("client", "path", "expected"),
    [
        (Client.AGENT, "/api/v1/pods", 200),
        (Client.AGENT, "/api/v1/secrets", 403),
        (Client.HARNESS, "/api/v1/secrets", 200),
        (Client.KUBE_PROXY, "/apis/discovery.k8s.io/v1/endpointslices", 200),
        (Client.KUBE_PROXY, "/api/v1/secrets", 403),
    ],
)
def test_a_client_may_do_its_own_work_alone(
    cluster: EmbeddedCluster, client: Client, path: str, expected: int
) -> None:
    """The node agent reads pods, the harness all, nobody else's secrets are anyone's."""
    context = client_context(Pki(cluster.folder.pki), client)

    assert code_for(f"{server(cluster)}{path}", context) == expected


@pytest.mark.optional("kubectl")
def test_an_enforcer_has_the_rights_of_its_account_alone(
    cluster: EmbeddedCluster, kubectl: Any
) -> None:
    """It reads what policies speak of and writes events; it can neither write nor read else."""
    kubeconfig = cluster.kubeconfig_of("enforcer-x", RIGHTS)
    user = json.loads(kubeconfig.read_text())["users"][0]["user"]

    assert set(user) == {"token"}
    assert kubeconfig.stat().st_mode & 0o077 == 0
    for words in (
        ("list", "pods"),
        ("watch", "namespaces"),
        ("get", "nodes"),
        ("list", "networkpolicies"),
        ("create", "events"),
    ):
        assert kubectl.attempt("auth", "can-i", *words, "-A", AS).returncode == 0, words
    for words in (
        ("create", "pods"),
        ("get", "secrets"),
        ("delete", "networkpolicies"),
        ("patch", "nodes"),
    ):
        assert kubectl.attempt("auth", "can-i", *words, "-A", AS).returncode == 1, words


def test_an_enforcer_reaches_the_api_server_from_its_node(cluster: EmbeddedCluster) -> None:
    """With the token of its account, over the fabric."""
    kubeconfig = cluster.kubeconfig_of("enforcer-y", RIGHTS)
    config = json.loads(kubeconfig.read_text())
    ca = Pki(cluster.folder.pki).ca
    token = config["users"][0]["user"]["token"]
    url = config["clusters"][0]["cluster"]["server"]
    ask = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(ca))

    def code(path: str) -> str:
        header = ("-H", f"Authorization: Bearer {token}")
        return cluster.exec(NodeRef("node-1"), (*ask, *header, f"{url}{path}")).stdout

    assert code("/api/v1/pods") == "200"
    assert code("/api/v1/secrets") == "403"


def test_keys_are_root_s_alone(cluster: EmbeddedCluster) -> None:
    """Neither a key nor a kubeconfig that carries one can be read by others."""
    folder: Path = cluster.folder.path
    secrets = [*folder.glob("pki/*"), *folder.glob("*kubeconfig*")]

    assert len(secrets) > 10
    assert folder.joinpath("pki").stat().st_mode & 0o077 == 0
    assert [path.name for path in folder.glob("*kubeconfig*") if path.stat().st_mode & 0o077] == []
