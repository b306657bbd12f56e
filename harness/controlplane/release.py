"""Downloads programs of an official Kubernetes release, each checked against its SHA-256.

https://kubernetes.io/releases/download/#binaries
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.requirements import architecture

_SITE = "https://dl.k8s.io/release"
_PATIENCE = 20.0
"""Seconds of silence after which the site counts as out of reach."""
_CHUNK = 1 << 20
_DIGEST_LENGTH = 64

Tell = Callable[[str, int, int], None]
"""Told what is being fetched or built, how far it is, and of how many."""


class NotFetchedError(Exception):
    """A program could not be had this way; the message says why."""


def download(names: Sequence[str], version: str, folder: Path, tell: Tell) -> None:
    """Download programs into ``folder``; NotFetchedError if one is not to be had."""
    for name in names:
        url = f"{_SITE}/{version}/bin/linux/{architecture()}/{name}"
        expected = _read(f"{url}.sha256").strip()
        if len(expected) != _DIGEST_LENGTH:
            raise NotFetchedError(f"{url}.sha256 is no checksum")
        _fetch(url, folder / name, expected, tell)


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310  # https
            content: bytes = answer.read(1024)
    except OSError as error:
        raise NotFetchedError(f"{url}: {_why(error)}") from error
    return content.decode(errors="replace")


def _fetch(url: str, path: Path, expected: str, tell: Tell) -> None:
    digest = hashlib.sha256()
    done = 0
    try:
        with (
            urllib.request.urlopen(url, timeout=_PATIENCE) as answer,  # noqa: S310  # https
            path.open("wb") as file,
        ):
            size = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
                done += len(chunk)
                tell(f"download {path.name} (MiB)", done >> 20, size >> 20)
    except OSError as error:
        raise NotFetchedError(f"{url}: {_why(error)}") from error
    if digest.hexdigest() != expected:
        raise NotFetchedError(f"{url}: its SHA-256 is {digest.hexdigest()}, not {expected}")
    path.chmod(0o755)


def _why(error: OSError) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason)
