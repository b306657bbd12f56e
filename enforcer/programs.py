"""The programs that we run: nft, ip and bridge, and where they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Final

from enforcer.errors import MissingError

SYSTEM_FOLDERS: Final = "/usr/sbin:/sbin"
"""Where they are on most systems; not every service's PATH has it."""

_PACKAGES: Final = {"nft": "nftables", "ip": "iproute2", "bridge": "iproute2"}


def find(name: str) -> str:
    """Return the path of a program; MissingError says what to install."""
    path = shutil.which(name) or shutil.which(name, path=SYSTEM_FOLDERS)
    if path is None:
        raise MissingError(f"{name} is not installed; run: apt-get install {_PACKAGES[name]}")
    return path


def check_iproute2() -> None:
    """Raise MissingError unless ip and bridge are there."""
    find("ip")
    find("bridge")


def check_all(*checks: Callable[[], None]) -> None:
    """Make every check; MissingError with all that is missing, one a line."""
    missing = []
    for check in checks:
        try:
            check()
        except MissingError as error:
            missing.append(str(error))
    if missing:
        raise MissingError("\n".join(missing))
