"""Linux namespaces and mounts through libc: enter them, make them, give them names.

Network and UTS namespaces belong to a *thread*: a thread that entered one stays there, and so do
the programs that it starts and the sockets that it makes.
"""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

NETNS_DIR = Path("/run/netns")
"""Where ``ip netns`` looks; the supervisor mounts a tmpfs of its own over it."""

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MS_REC = 16384

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own (unshare(2))."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace behind ``descriptor`` (setns(2))."""
    _check(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: Path, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount something (mount(2)); no kind means a bind mount."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags))
    _check(_libc.mount(*arguments, data.encode()), f"mount {kind or source} on {target}")


def unmount(target: Path) -> None:
    """Detach what is mounted on ``target``."""
    detach = 2
    _check(_libc.umount2(os.fsencode(target), detach), f"umount {target}")


def pin_network(name: str) -> None:
    """Give the calling thread's network namespace a name that ``ip netns`` knows."""
    path = NETNS_DIR / name
    path.touch()
    mount("/proc/thread-self/ns/net", path, "", MS_BIND)


def unpin_network(name: str) -> None:
    """Take the name away again; the namespace ends when nothing else holds it."""
    path = NETNS_DIR / name
    unmount(path)
    path.unlink()


def new_network(name: str, hostname: str = "") -> None:
    """Move the calling thread into a new network namespace with that name (and a hostname)."""
    unshare(CLONE_NEWNET | CLONE_NEWUTS)
    if hostname:
        socket.sethostname(hostname)
    pin_network(name)


def enter_network(name: str) -> None:
    """Move the calling thread into a named network namespace."""
    descriptor = os.open(NETNS_DIR / name, os.O_RDONLY)
    try:
        setns(descriptor, CLONE_NEWNET)
    finally:
        os.close(descriptor)


def sysctl(name: str, value: int | str) -> None:
    """Set a sysctl, named by its path below ``/proc/sys``, in the thread's own namespace."""
    (Path("/proc/sys") / name).write_text(str(value))


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
