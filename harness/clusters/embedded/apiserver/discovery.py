"""Discovery: the documents by which clients learn what is served. Made from the table of kinds."""

from __future__ import annotations

from collections.abc import Iterator

from harness.clusters.embedded.apiserver.resources import GROUPS, KINDS, Kind, Object, Scope

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0",
    "gitCommit": "builtin",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
"""Plain digits: enforcers have parsed "10+" wrongly and switched themselves off (kube-router 488).
The minor version is that of the real control plane whose behaviour this one follows."""


def document(path: str) -> Object | None:
    """Return the discovery document at a path; None where there is none."""
    return _DOCUMENTS.get(path.rstrip("/"))


def _resources(group: str, version: str) -> Object:
    kinds = [kind for kind in KINDS if (kind.group, kind.version) == (group, version)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [entry for kind in kinds for entry in _entries(kind)],
    }


def _entries(kind: Kind) -> Iterator[Object]:
    common = {"namespaced": kind.scope is Scope.NAMESPACED, "kind": kind.name}
    yield common | {
        "name": kind.plural,
        "singularName": kind.name.lower(),
        "verbs": list(kind.access.value),
        "shortNames": list(kind.short),
    }
    for subresource in kind.subresources:
        name = f"{kind.plural}/{subresource}"
        yield common | {"name": name, "singularName": "", "verbs": ["get", "patch", "update"]}


def _group(group: str, version: str) -> Object:
    entry = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _base(group: str, version: str) -> str:
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def _openapi(group: str, version: str) -> Object:
    """Return as much of an OpenAPI document as kubectl reads before it creates an object.

    It looks whether a patch of the kind takes ``fieldValidation``; where it does, it leaves
    validation to the server. https://github.com/kubernetes/enhancements/issues/2885
    """
    paths = {
        f"/{kind.plural}/{{name}}": {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "responses": {},
                "x-kubernetes-group-version-kind": {
                    "group": group,
                    "version": version,
                    "kind": kind.name,
                },
            }
        }
        for kind in KINDS
        if (kind.group, kind.version) == (group, version)
    }
    info = {"title": "builtin", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths}


_NAMED = [(group, version) for group, version in GROUPS if group]
_DOCUMENTS: dict[str, Object] = {
    "/version": VERSION,
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(group, version) for group, version in _NAMED],
    },
    "/api/v1": _resources("", "v1"),
    **{
        f"/apis/{group}": {"kind": "APIGroup", "apiVersion": "v1"} | _group(group, version)
        for group, version in _NAMED
    },
    "/openapi/v3": {
        "paths": {
            _base(group, version)[1:]: {"serverRelativeURL": f"/openapi/v3{_base(group, version)}"}
            for group, version in GROUPS
        }
    },
    **{
        f"/openapi/v3{_base(group, version)}": _openapi(group, version) for group, version in GROUPS
    },
    **{f"/apis/{group}/{version}": _resources(group, version) for group, version in _NAMED},
}
