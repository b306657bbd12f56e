"""Where the API server is found, and how mistakes in a kubeconfig are told."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from enforcer.errors import SettingsError
from enforcer.kube.access import Anonymous, Password, StaticToken, TokenFile
from enforcer.kube.config import load_config, load_in_cluster
from enforcer.kube.kubeconfig import load_kubeconfig

# A self-signed certificate for "test" and its key, valid until 2126, made for these tests alone.
CERTIFICATE = (Path(__file__).parent / "certificate.pem").read_text()
KEY = (Path(__file__).parent / "key.pem").read_text()


def encoded(pem: str) -> str:
    """Return PEM as kubeconfigs hold it."""
    return base64.b64encode(pem.encode()).decode()


def write(folder: Path, cluster: Any = None, user: Any = None, **more: Any) -> Path:
    """Write a kubeconfig with one context."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://192.0.2.1:6443/"}}],
        "users": [{"name": "u", "user": user or {}}],
        **more,
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(content))
    return path


def mistakes(path: Path) -> list[str]:
    """Return what is said about a kubeconfig, line by line."""
    with pytest.raises(SettingsError) as caught:
        load_kubeconfig(path)
    return str(caught.value).splitlines()


def test_plain_http_needs_nothing_else(tmp_path: Path) -> None:
    """As the embedded cluster's API server has it."""
    found = load_kubeconfig(write(tmp_path, {"server": "http://127.0.0.1:8001"}))

    assert (found.server, found.credentials) == ("http://127.0.0.1:8001", Anonymous())


@pytest.mark.parametrize("inline", [True, False])
def test_certificates_are_inline_or_in_files_beside_it(inline: bool, tmp_path: Path) -> None:
    """CA and client certificate; relative names are relative to the kubeconfig."""
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    suffix = "-data" if inline else ""
    certificate = encoded(CERTIFICATE) if inline else "cert.pem"
    key = encoded(KEY) if inline else "key.pem"
    cluster = {
        "server": "https://192.0.2.1:6443/",
        f"certificate-authority{suffix}": certificate,
        "tls-server-name": "test",
    }
    user = {f"client-certificate{suffix}": certificate, f"client-key{suffix}": key}

    found = load_kubeconfig(write(tmp_path, cluster, user))

    assert (found.server, found.tls_server_name) == ("https://192.0.2.1:6443", "test")
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert len(found.tls.get_ca_certs()) == 1


def test_insecure_means_no_verification(tmp_path: Path) -> None:
    """Only when it is asked for by name."""
    cluster = {"server": "https://192.0.2.1", "insecure-skip-tls-verify": True}
    found = load_kubeconfig(write(tmp_path, cluster))

    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_NONE


def test_credentials(tmp_path: Path) -> None:
    """A token file goes before a token, as for kubectl."""
    (tmp_path / "token").write_text("secret\n")

    def credentials(user: Any) -> object:
        return load_kubeconfig(write(tmp_path, user=user)).credentials

    both = {"token": "t", "tokenFile": "token"}
    named = {"username": "me", "password": "p"}
    assert credentials({"token": "t"}) == StaticToken("t")
    assert credentials(both) == TokenFile(tmp_path / "token")
    assert credentials(named) == Password("me", "p")


def test_the_master_flag_overrides_the_server(tmp_path: Path) -> None:
    """Everything else stays as the kubeconfig says."""
    path = write(tmp_path, user={"token": "t"})
    found = load_config(path, "http://192.0.2.9:8080/")

    assert (found.server, found.credentials) == ("http://192.0.2.9:8080", StaticToken("t"))


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Five mistakes are five lines, each with its place."""
    cluster = {"server": "192.0.2.1:6443", "certificate-authority-data": "%%"}
    user = {"client-certificate": "gone.pem", "tokenFile": "gone", "exec": {"command": "aws"}}

    found = mistakes(write(tmp_path, cluster, user))

    assert len(found) == 5
    words = ("server:", "certificate-authority-data", "gone.pem", "exec:", "tokenFile")
    assert all(any(word in line for line in found) for word in words)
    assert all(line.startswith(f"kubeconfig {tmp_path / 'config'}: ") for line in found)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"current-context": ""}, "current-context is not set"),
        ({"current-context": "there"}, "there is no context 'there' (there is: here)"),
        ({"clusters": []}, "there is no cluster 'c' (there is: none)"),
        ({"users": None}, "there is no user 'u' (there is: none)"),
        ({"contexts": {}}, "Expected `array | null`, got `object` - at `$.contexts`"),
    ],
)
def test_names_that_lead_nowhere(more: Any, said: str, tmp_path: Path) -> None:
    """The first mistake is said, and no others that only follow from it."""
    found = mistakes(write(tmp_path, **more))

    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"client-certificate-data": "Q0VSVA=="}, "need each other"),
        (
            {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"},
            "is no certificate with its private key",
        ),
        ({"auth-provider": {"name": "gcp"}}, "removed from Kubernetes"),
        ({"as": "somebody"}, "impersonation is not supported"),
    ],
)
def test_users_that_cannot_work(user: Any, said: str, tmp_path: Path) -> None:
    """Each says what is wrong and, where there is one, the way out."""
    assert said in mistakes(write(tmp_path, user=user))[0]


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_kubeconfig_that_is_none(text: str | None, tmp_path: Path) -> None:
    """Missing, no YAML, or something else: one sentence, no traceback."""
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)

    assert len(mistakes(path)) == 1


def account(folder: Path) -> Path:
    """Write what the kubelet gives to a pod."""
    (folder / "token").write_text("secret")
    (folder / "ca.crt").write_text(CERTIFICATE)
    return folder


@pytest.mark.parametrize(
    ("host", "server"),
    [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")],
)
def test_a_pod_finds_its_api_server(host: str, server: str, tmp_path: Path) -> None:
    """By its environment and the mounted ServiceAccount; the token is read again and again."""
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    found = load_in_cluster(environment, account(tmp_path))

    assert (found.server, found.credentials) == (server, TokenFile(tmp_path / "token"))


def test_outside_of_a_pod_a_kubeconfig_is_asked_for(tmp_path: Path) -> None:
    """And in a pod without its token, that file."""
    with pytest.raises(SettingsError, match="--kubeconfig"):
        load_in_cluster({}, tmp_path)
    with pytest.raises(SettingsError, match="token"):
        load_in_cluster({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, tmp_path)


def test_a_master_that_is_no_url() -> None:
    """The flag is named."""
    with pytest.raises(SettingsError, match="--master"):
        load_config(None, "10.0.0.1:8080")
