"""The environment's proxy, by the rules that Kubernetes' clients share."""

from __future__ import annotations

import pytest

from enforcer.errors import SettingsError
from enforcer.kube.proxies import proxy_for

HTTPS = {"HTTPS_PROXY": "http://proxy:3128", "http_proxy": "plain:8080"}


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://api.example:6443", "http://proxy:3128"),
        ("http://api.example", "http://plain:8080"),
        ("https://127.0.0.1:6443", None),
        ("https://[::1]:6443", None),
        ("https://localhost", None),
    ],
)
def test_the_scheme_chooses_and_the_loopback_never_goes_through_it(
    url: str, proxy: str | None
) -> None:
    """Upper case first, then lower; a proxy without a scheme speaks HTTP."""
    assert proxy_for(url, HTTPS) == proxy


@pytest.mark.parametrize(
    ("url", "exempt"),
    [
        ("https://10.96.0.1:443", "10.96.0.0/12"),
        ("https://[fd00::1]:443", "fd00::/8"),
        ("https://10.96.0.1", "10.96.0.1"),
        ("https://api.corp.example", "corp.example"),
        ("https://api.corp.example", ".corp.example"),
        ("https://api.corp.example:6443", "api.corp.example:6443"),
        ("https://10.0.0.1:6443", "other, 10.0.0.1:6443"),
        ("https://anything", "*"),
    ],
)
def test_what_no_proxy_names_goes_straight(url: str, exempt: str) -> None:
    """Addresses, networks, domains and ports; in a cluster it is usually the Service range."""
    assert proxy_for(url, HTTPS | {"NO_PROXY": exempt}) is None


@pytest.mark.parametrize(
    "exempt", ["10.97.0.0/16", "ample", "api.example:443", ".api.example", "", ",,", "10.0.0.0/99"]
)
def test_what_it_does_not_name_goes_through_the_proxy(exempt: str) -> None:
    """A part of a name is no domain; another port is another server."""
    assert proxy_for("https://api.example:6443", HTTPS | {"no_proxy": exempt}) is not None


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "http://"])
def test_a_proxy_that_cannot_be_used_is_refused(proxy: str) -> None:
    """By the variable's name, instead of failing at each request."""
    with pytest.raises(SettingsError, match="HTTPS_PROXY"):
        proxy_for("https://api.example", {"HTTPS_PROXY": proxy})
