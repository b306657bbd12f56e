"""Which IP families a Service has: what it asks for, and what its cluster has.

https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.clusters.embedded.apiserver.errors import Cause

_Spec = dict[str, Any]

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_NAMES = {4: "IPv4", 6: "IPv6"}
_BOTH = 2


def name_of(version: int) -> str:
    """Return what the API calls a version of IP."""
    return _NAMES[version]


def family_of(address: str) -> str:
    """Return the family of an address."""
    return "IPv6" if ":" in address else "IPv4"


def asked_addresses(spec: _Spec) -> list[str]:
    """Return the ClusterIPs that a Service names, in their order; not ``None``, which is none."""
    listed = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [address for address in listed if address not in {"", "None"}]


def conflicts(spec: _Spec, cluster: Sequence[str]) -> Iterator[Cause]:
    """Yield what a cluster of these families cannot give a Service."""
    for number, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in cluster:
            message = f'Invalid value: "{family}": not configured on this cluster'
            yield Cause(f"spec.ipFamilies[{number}]", message)
    if spec.get("ipFamilyPolicy") == REQUIRE and len(cluster) < _BOTH:
        message = f'Invalid value: "{REQUIRE}": this cluster is not configured for dual-stack'
        yield Cause("spec.ipFamilyPolicy", f"{message} services")
    if spec.get("ipFamilyPolicy") == SINGLE and len(_asked(spec)) == _BOTH:
        message = f'Invalid value: "{SINGLE}": must be {REQUIRE} or {PREFER} when multiple'
        yield Cause("spec.ipFamilyPolicy", f"{message} families are specified")


def settle(spec: _Spec, cluster: Sequence[str]) -> None:
    """Fill in ``ipFamilyPolicy`` and ``ipFamilies`` as an API server does."""
    asked = _asked(spec)
    policy = spec.setdefault("ipFamilyPolicy", REQUIRE if len(asked) == _BOTH else SINGLE)
    wanted = 1 if policy == SINGLE else len(cluster)
    families = [*asked, *(family for family in cluster if family not in asked)]
    spec["ipFamilies"] = families[:wanted]


def leave_dual_stack(spec: _Spec, was: _Spec) -> None:
    """Drop the second family of a Service that was told to have one only."""
    for field in ("clusterIPs", "ipFamilies"):
        second = (spec.get(field) or [])[1:]
        if spec.get("ipFamilyPolicy") == SINGLE and second and second == was.get(field, [])[1:]:
            spec[field] = spec[field][:1]


def _asked(spec: _Spec) -> list[str]:
    named = list(spec.get("ipFamilies") or ())
    return named or [family_of(address) for address in asked_addresses(spec)]
