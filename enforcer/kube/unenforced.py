"""Policies of kinds that this program does not enforce: found, so that they can be named.

https://network-policy-api.sigs.k8s.io/
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from enforcer.errors import DecodeError
from enforcer.kube.client import Api
from enforcer.kube.failures import StatusError
from enforcer.kube.policies import MALFORMED

_GROUP = "policy.networking.k8s.io"
KINDS = {
    "adminnetworkpolicies": "AdminNetworkPolicy",
    "baselineadminnetworkpolicies": "BaselineAdminNetworkPolicy",
    "clusternetworkpolicies": "ClusterNetworkPolicy",
}


@dataclass(frozen=True, slots=True)
class Unenforced:
    """A policy that is there and has no effect on nodes of this enforcer."""

    api_version: str
    kind: str
    name: str


class _Version(msgspec.Struct):
    groupVersion: str  # noqa: N815  # the API's name


class _Group(msgspec.Struct):
    name: str
    versions: list[_Version]


class _Groups(msgspec.Struct):
    groups: list[_Group]


class _Resource(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    resources: list[_Resource]


class _Meta(msgspec.Struct):
    name: str = ""


class _Item(msgspec.Struct):
    metadata: _Meta


class _Items(msgspec.Struct):
    items: list[_Item] | None = None


async def find_unenforced(api: Api) -> tuple[Unenforced, ...]:
    """Return the policies of other kinds, sorted; ApiError or DecodeError where nobody can tell."""
    try:
        groups = msgspec.json.decode(await api.get("/apis"), type=_Groups).groups
        found: dict[tuple[str, str], Unenforced] = {}
        for group in groups:
            for version in group.versions if group.name == _GROUP else ():
                for item in await _of_version(api, version.groupVersion):
                    found.setdefault((item.kind, item.name), item)
    except MALFORMED as error:
        raise DecodeError(f"the API's discovery cannot be read: {error}") from error
    return tuple(found[key] for key in sorted(found))


async def _of_version(api: Api, version: str) -> list[Unenforced]:
    body = await api.get(f"/apis/{version}")
    names = {item.name for item in msgspec.json.decode(body, type=_Resources).resources}
    found: list[Unenforced] = []
    for plural in sorted(names & KINDS.keys()):
        items = msgspec.json.decode(await _list(api, version, plural), type=_Items).items
        found += [Unenforced(version, KINDS[plural], item.metadata.name) for item in items or ()]
    return found


async def _list(api: Api, version: str, plural: str) -> bytes:
    try:
        return await api.get(f"/apis/{version}/{plural}")
    except StatusError as error:
        if error.code == _NOT_FOUND:
            return b"{}"  # an aggregated API between two versions
        raise


_NOT_FOUND = 404
