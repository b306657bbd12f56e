"""Looks for the real control plane's programs, and says what is missing.

In this order: the folder ``KUBEBUILDER_ASSETS``, ``PATH``, the project's cache. kube-* programs
are only taken together when they are of one version.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.requirements import find_tool

DEFAULT_VERSION = "v1.34.3"
"""The Kubernetes version that ``nox -s control-plane`` fetches unless told otherwise."""

KUBE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCD = "etcd"
KUBE_PROXY = "kube-proxy"
"""Only ``--proxy kube-proxy-*`` needs it."""

HOW_TO_GET = "run: nox -s control-plane"
_ASSETS = "KUBEBUILDER_ASSETS"
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_TIMEOUT = 30.0

Look = Callable[[str], str | None]
"""Returns the path of a program in one source, if it is there."""


@dataclass(frozen=True, slots=True)
class Programs:
    """A whole control plane: program to path, and its Kubernetes version."""

    paths: Mapping[str, str]
    version: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is none."""

    reason: str


def cache_root() -> Path:
    """Return the folder of the project's cache of control planes, one folder a version."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "npd" / "control-plane"


def find(version: str = "") -> Programs | Missing:
    """Return the first whole control plane, of this Kubernetes version if one is named."""
    reasons = []
    for look in _sources(version):
        server = look(KUBE_PROGRAMS[0])
        if server is None:
            continue
        its = version_of(server)
        if version and its != version:
            reasons.append(f"{server} is {its}")
            continue
        found = _complete(its, look)
        if isinstance(found, Programs):
            return found
        reasons.append(found.reason)
    wanted = f" {version}" if version else ""
    seen = f" ({'; '.join(reasons)})" if reasons else ""
    option = f" -- --kubernetes-version {version}" if version else ""
    return Missing(f"no real control plane{wanted} was found{seen}; {HOW_TO_GET}{option}")


def cached_versions() -> tuple[str, ...]:
    """Return the versions in the cache: the default one first, then the newest."""
    root = cache_root()
    names = [path.name for path in root.iterdir()] if root.is_dir() else []
    versions = sorted((n for n in names if _VERSION.fullmatch(n)), key=numbers, reverse=True)
    return tuple(sorted(versions, key=lambda name: name != DEFAULT_VERSION))


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, for comparing; empty for what is no version."""
    match = _VERSION.match(version)
    return tuple(map(int, match.groups())) if match else ()


@cache
def version_of(program: str) -> str:
    """Return what ``kube-… --version`` says: ``v1.34.3``; empty if it says nothing known."""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = _VERSION.search(said)
    return match.group() if match else ""


def _complete(version: str, first: Look) -> Programs | Missing:
    """Collect the other programs: beside the first one, or in any source, of the same version."""
    sources = [first, *_sources(version)]
    paths: dict[str, str] = {}
    for name in (*KUBE_PROGRAMS, KUBE_PROXY):
        candidates = (path for look in sources if (path := look(name)) is not None)
        fitting = next((path for path in candidates if version_of(path) == version), None)
        if fitting is not None:
            paths[name] = fitting
    etcd = next((path for look in sources if (path := look(ETCD)) is not None), None)
    if etcd is not None:
        paths[ETCD] = etcd
    lacking = [name for name in (*KUBE_PROGRAMS, ETCD) if name not in paths]
    if lacking:
        return Missing(f"with kube-apiserver {version} there is no {', '.join(lacking)}")
    return Programs(paths, version)


def _sources(version: str) -> Iterator[Look]:
    assets = os.environ.get(_ASSETS)
    if assets:
        yield _in_folder(Path(assets))
    yield find_tool
    for cached in (version,) if version else cached_versions():
        yield _in_folder(cache_root() / cached)


def _in_folder(folder: Path) -> Look:
    def look(name: str) -> str | None:
        path = folder / name
        return str(path) if os.access(path, os.X_OK) and path.is_file() else None

    return look
