"""``enforcer sysdump``: what a bug report needs of a node, in one archive, and no secrets.

The cluster's objects are cut down to the fields that enforcement reads: no annotations, no
environment, no volumes, and of Secrets nothing is ever asked. What is left can be given to
``enforcer explain -f`` and ``enforcer render -f``, so that others see what was seen here.
"""

from __future__ import annotations

import asyncio
import io
import json
import platform
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from enforcer import __version__, programs
from enforcer.errors import EnforcerError
from enforcer.health import Answer, ask, reachable
from enforcer.kube.client import Api, connect
from enforcer.model.changes import Kind
from enforcer.nft.kernel import NftKernel
from enforcer.ruleset.names import CURRENT, TABLES
from enforcer.settings import Settings
from enforcer.status import as_json, status_of

Fields = Mapping[str, Any]
"""Names of fields that stay; the value says which of their own stay, None for all."""

_NAMES: Final[Fields] = {"name": None, "namespace": None, "uid": None, "labels": None}
_CONTAINER: Final[Fields] = {"name": None, "ports": None, "restartPolicy": None}
_FIELDS: Final[Mapping[Kind, Fields]] = {
    Kind.PODS: {
        "metadata": {**_NAMES, "deletionTimestamp": None},
        "spec": {
            "nodeName": None,
            "hostNetwork": None,
            "containers": _CONTAINER,
            "initContainers": _CONTAINER,
        },
        "status": {"phase": None, "podIP": None, "podIPs": None, "hostIP": None, "hostIPs": None},
    },
    Kind.NAMESPACES: {"metadata": _NAMES},
    Kind.NODES: {
        "metadata": _NAMES,
        "spec": {"podCIDR": None, "podCIDRs": None},
        "status": {"addresses": None},
    },
    Kind.POLICIES: {"metadata": _NAMES, "spec": None},
}
_API: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.PODS: ("v1", "Pod"),
    Kind.NAMESPACES: ("v1", "Namespace"),
    Kind.NODES: ("v1", "Node"),
    Kind.POLICIES: ("networking.k8s.io/v1", "NetworkPolicy"),
}
_COMMANDS: Final = {
    "nft-version.txt": ("nft", "--version"),
    "tables.txt": ("nft", "list", "tables"),
    "links.json": ("ip", "-d", "-s", "-j", "link"),
    "addresses.json": ("ip", "-j", "address"),
    "routes4.json": ("ip", "-4", "-j", "route", "show", "table", "all"),
    "routes6.json": ("ip", "-6", "-j", "route", "show", "table", "all"),
    "rules.txt": ("ip", "rule"),
    "bridge-ports.json": ("bridge", "-j", "fdb"),
    "neighbours.json": ("ip", "-j", "neighbour"),
    **{
        f"nft-{id_.family.value}.txt": ("nft", "list", "table", *str(id_).split())
        for id_ in CURRENT
    },
}
_LEFT: Final = tuple(str(id_) for id_ in TABLES if id_ not in CURRENT)
"""Tables of ours that come and go: where one stays, something broke off."""

_SYSCTLS: Final = (
    "net/bridge/*",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/*/rp_filter",
    "net/ipv4/conf/*/send_redirects",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
)
_PATIENCE_SECONDS: Final = 30.0
_PAGE_SIZE: Final = 500


def write(settings: Settings, target: BinaryIO) -> tuple[str, ...]:
    """Write the archive (tar, gzip) and return what could not be had; that is in it, too."""
    now, problems = int(time.time()), []
    folder = f"npd-sysdump-{settings.node_name}"
    with tarfile.open(fileobj=target, mode="w|gz") as archive:
        for name, make in _parts(settings).items():
            try:
                content = make()
            except (EnforcerError, OSError, ValueError, subprocess.SubprocessError) as error:
                problems.append(f"{name}: {error}")
            else:
                _add(archive, f"{folder}/{name}", content, now)
        _add(archive, f"{folder}/problems.txt", "".join(f"{it}\n" for it in problems), now)
    return tuple(problems)


def _parts(settings: Settings) -> Mapping[str, Callable[[], str]]:
    """Return each file of the archive with what makes it."""
    return {
        "versions.txt": _versions,
        "status.json": partial(_status, settings),
        "metrics.txt": partial(_metrics, settings),
        "sysctls.txt": _sysctls,
        **{name: partial(_printed, *argv) for name, argv in _COMMANDS.items()},
        "nft-left.txt": _left,
        "cluster.json": partial(_cluster, settings),
    }


def _add(archive: tarfile.TarFile, name: str, content: str, now: int) -> None:
    data = content.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(data), now
    archive.addfile(entry, io.BytesIO(data))


def _versions() -> str:
    return f"npd {__version__}\nkernel {platform.release()} {platform.machine()}\n"


def _daemon(settings: Settings) -> Answer | None:
    return asyncio.run(ask(reachable(settings.health_address), settings.health_port))


def _status(settings: Settings) -> str:
    return json.dumps(as_json(status_of(NftKernel().read(TABLES), _daemon(settings))), indent=1)


def _metrics(settings: Settings) -> str:
    answer = _daemon(settings)
    return answer.metrics if answer else "no daemon answers\n"


def _sysctls() -> str:
    root = Path("/proc/sys")
    found = sorted(path for pattern in _SYSCTLS for path in root.glob(pattern))
    return "".join(f"{path.relative_to(root)} = {path.read_text().strip()}\n" for path in found)


def _printed(program: str, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - arguments of our own
        [programs.find(program), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    return done.stdout + done.stderr


def _left() -> str:
    """List the stand-ins and former tables that are there, too."""
    present = set(_printed("nft", "list", "tables").splitlines())
    found = [name for name in _LEFT if f"table {name}" in present]
    return "".join(_printed("nft", "list", "table", *name.split()) for name in found) or "none\n"


def _cluster(settings: Settings) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": asyncio.run(_items(settings))})


async def _items(settings: Settings) -> list[Any]:
    """List every kind, cut down to what enforcement reads."""
    found: list[Any] = []
    async with connect(settings.kubeconfig, settings.master) as api:
        for kind, (version, name) in _API.items():
            said = {"apiVersion": version, "kind": name}
            found += [said | pruned(item, _FIELDS[kind]) async for item in _listed(api, kind)]
    return found


async def _listed(api: Api, kind: Kind) -> AsyncIterator[Any]:
    query = {"limit": str(_PAGE_SIZE)}
    while True:
        page = msgspec.json.decode(await api.list_page(kind, query))
        for item in page.get("items") or ():
            yield item
        query["continue"] = page.get("metadata", {}).get("continue", "")
        if not query["continue"]:
            return


def pruned(value: Any, fields: Fields | None) -> Any:
    """Return a JSON value with these fields alone, in each item where it is a list."""
    if fields is None:
        return value
    if isinstance(value, list):
        return [pruned(item, fields) for item in value]
    if not isinstance(value, dict):
        return None
    return {name: pruned(value[name], inner) for name, inner in fields.items() if name in value}
