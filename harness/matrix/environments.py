"""The clusters that cases are judged on: how pods are wired, who is the proxy, which addresses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from harness.controlplane.programs import Programs, find
from harness.doctor.kernel import look_ipvs
from harness.matrix.axes import Family, Proxy, Selection, Wiring
from harness.options import PROXIES, ClusterSettings


@dataclass(frozen=True, slots=True)
class Environment:
    """One kind of cluster."""

    wiring: Wiring
    proxy: Proxy = Proxy.NFTABLES
    family: Family = Family.IPV4

    @property
    def name(self) -> str:
        """Return its name: the wiring, and what else is not as most often."""
        parts = [self.wiring.value]
        parts += [self.proxy.value] if self.proxy is not Proxy.NFTABLES else []
        parts += [self.family.value] if self.family is not Family.IPV4 else []
        return "+".join(parts)

    @property
    def families(self) -> frozenset[Family]:
        """Return the families of its addresses."""
        both = frozenset({Family.IPV4, Family.IPV6})
        return both if self.family is Family.DUAL else frozenset({self.family})

    def settings(self, base: ClusterSettings) -> ClusterSettings:
        """Return what makes such a cluster; everything else is as in ``base``."""
        return dataclasses.replace(
            base,
            cni=self._cni(base.cni),
            bridge_netfilter=self.wiring is Wiring.BRIDGED_NF,
            bridges=_SEVERAL if self.wiring is Wiring.BRIDGES else 1,
            ip_family=self.family.value,
            proxy=self.proxy.value.replace("_", "-"),
        )

    def _cni(self, asked: str) -> str:
        """Return what connects pods so; kindnet routes, too."""
        if self.wiring is not Wiring.ROUTED:
            return "bridged"
        return "routed" if asked == "bridged" else asked


_IPV4_FIRST = "kind clusters are IPv4 unless --ip-family asks for another"
_NO_IPVS = "the kernel has no IPVS (CONFIG_IP_VS); in a guest: nox -s lab -- --functional"
_SEVERAL = 2
"""Bridges a node, where there are several."""


def first(base: ClusterSettings) -> tuple[Environment, ...]:
    """Return where the study's rows are asked."""
    proxy = _proxy(PROXIES[base.cluster])
    return Environment(Wiring.ROUTED, proxy), Environment(Wiring.BRIDGED, proxy)


def _proxy(word: str) -> Proxy:
    return Proxy(word.replace("-", "_"))


def environment_of(settings: ClusterSettings) -> Environment:
    """Return the environment that settings name."""
    bridged = Wiring.BRIDGES if settings.bridges > 1 else Wiring.BRIDGED
    bridged = Wiring.BRIDGED_NF if settings.bridge_netfilter else bridged
    return Environment(
        bridged if settings.cni == "bridged" else Wiring.ROUTED,
        _proxy(settings.proxy),
        Family(settings.ip_family),
    )


def every(selection: Selection) -> Iterator[Environment]:
    """Yield every environment that was selected, the plainest first."""
    families = (Family.IPV4, Family.IPV6, Family.DUAL)
    for wiring, proxy, family in product(Wiring, Proxy, families):
        if (
            selection.takes("wiring", wiring)
            and selection.takes("proxy", proxy)
            and selection.takes("family", family)
        ):
            yield Environment(wiring, proxy, family)


Reasons = Mapping[tuple[str, str], str]
"""Why a value of an axis cannot be had here: by axis and value."""


def unavailable(base: ClusterSettings) -> Reasons:
    """Say which wirings, proxies and families cannot be had on this machine, and why."""
    if base.cluster == "kind":
        return _unavailable_on_kind()
    reasons: dict[tuple[str, str], str] = {}
    plane = find(base.kubernetes_version) if base.control_plane != "builtin" else None
    for proxy in Proxy:
        if proxy is Proxy.NFTABLES:
            continue
        reason = _why_not(proxy, base, plane)
        if reason:
            reasons["proxy", proxy.value] = reason
    return reasons


def _unavailable_on_kind() -> Reasons:
    reasons = {
        ("proxy", Proxy.NFTABLES.value): "it is ours, and runs on embedded clusters alone",
        ("wiring", Wiring.BRIDGES.value): "a node of kind has one bridge for its pods",
        ("family", Family.IPV6.value): _IPV4_FIRST,
        ("family", Family.DUAL.value): _IPV4_FIRST,
    }
    if not look_ipvs().present:
        reasons["proxy", Proxy.KUBE_PROXY_IPVS.value] = _NO_IPVS
    return reasons


def _why_not(proxy: Proxy, base: ClusterSettings, plane: object) -> str:
    if base.control_plane == "builtin":
        return "kube-proxy needs --control-plane real"
    if not isinstance(plane, Programs):
        return "no real control plane was found; get it: nox -s control-plane"
    if proxy is Proxy.KUBE_PROXY_IPVS and not look_ipvs().present:
        return _NO_IPVS
    return ""


def reason_of(environment: Environment, reasons: Reasons) -> str:
    """Say why an environment cannot be had; empty where it can."""
    keys = (
        ("wiring", environment.wiring.value),
        ("proxy", environment.proxy.value),
        ("family", environment.family.value),
    )
    return "; ".join(reasons[key] for key in keys if key in reasons)
