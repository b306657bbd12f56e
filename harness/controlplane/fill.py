"""Fills the cache with one version's programs: the official release, else built with Go.

A version appears in the cache whole or not at all: it is gathered beside it and moved there at
the end. Interrupted or failed, nothing is left but Go's own caches, which make the next try short.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.controlplane.build import build
from harness.controlplane.programs import ETCD, KUBE_PROGRAMS, KUBE_PROXY, cache_root
from harness.controlplane.release import NotFetchedError, Tell, download
from harness.errors import HarnessError
from harness.requirements import find_tool

PROGRAMS = (ETCD, *KUBE_PROGRAMS, KUBE_PROXY)
"""What a version in the cache consists of."""

Say = Callable[[str], None]
"""Told a sentence for the person who waits."""


def fill(version: str, tell: Tell, say: Say, *, again: bool = False) -> Path:
    """Return the folder of the version's programs, after fetching them if need be.

    With ``again`` they are fetched even if they are there. Raises HarnessError, which says what
    was tried, where neither way works.
    """
    target = cache_root() / version
    with _exclusive(target.parent):
        if is_whole(target) and not again:
            say(f"the cache has Kubernetes {version} already")
            return target
        with _workplace(target) as folder:
            _gather(version, folder, tell, say)
            _put(folder, target)
    return target


def is_whole(folder: Path) -> bool:
    """Whether a folder of the cache has every program."""
    return all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def _gather(version: str, folder: Path, tell: Tell, say: Say) -> None:
    kube = (*KUBE_PROGRAMS, KUBE_PROXY)
    etcd = find_tool(ETCD)
    if etcd is not None:
        say(f"etcd is {etcd}")
        shutil.copy2(etcd, folder / ETCD)
    missing = () if etcd else (ETCD,)
    try:
        download(kube, version, folder, tell)
    except NotFetchedError as error:
        say(f"the official release cannot be downloaded ({error}); building it with Go instead")
        _build((*missing, *kube), version, folder, tell, first=str(error))
    else:
        if missing:
            say("no etcd on PATH (apt-get install etcd-server brings one); building it with Go")
            _build(missing, version, folder, tell)


def _build(
    names: Sequence[str], version: str, folder: Path, tell: Tell, *, first: str = ""
) -> None:
    try:
        build(names, version, folder, tell)
    except NotFetchedError as error:
        tried = f"the download failed ({first}), and so did " if first else ""
        message = (
            f"Kubernetes {version} is not to be had: {tried}the build with Go: {error}\n"
            "with the programs from elsewhere, set KUBEBUILDER_ASSETS to their folder; "
            "--control-plane builtin needs none of them"
        )
        raise HarnessError(message) from error


@contextlib.contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """Yield a folder beside ``target`` that is gone afterwards, however it ends."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, target: Path) -> None:
    """Move the programs, and nothing else of a workplace, to where they belong."""
    whole = folder / "whole"
    whole.mkdir()
    for name in PROGRAMS:
        (folder / name).rename(whole / name)
    if target.exists():
        target.rename(folder / "old")
    whole.rename(target)


@contextlib.contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    """Let one fill at a time into the cache; the other one waits."""
    root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sweep(root)
        yield
    finally:
        os.close(descriptor)


def _sweep(root: Path) -> None:
    """Remove workplaces of fills that were killed: nobody else holds the lock."""
    for path in root.glob(".v*"):
        shutil.rmtree(path, ignore_errors=True)
