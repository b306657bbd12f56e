"""Sockets of other network namespaces, and what the kernel noted about their errors.

A socket belongs for ever to the network namespace in which it was made, so it is enough to enter
a namespace for the moment of making it (``setns(2)``; ``socket(7)``). ``IP_RECVERR`` keeps ICMP
errors in the socket's error queue with their origin (``ip(7)``): only so can a reset be told from
an ICMP port-unreachable, for both are ``ECONNREFUSED``.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IPPROTO_SCTP = 132
"""socket.IPPROTO_SCTP, which Python has only where it was built with SCTP's headers."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
# linux/in.h and linux/in6.h; Python 3.11 has no names for these
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_IP_FREEBIND = 15
_IP_BIND_ADDRESS_NO_PORT = 24
_MSG_ERRQUEUE = 0x2000
_TCP_THIN_LINEAR_TIMEOUTS = 16  # linux/tcp.h
# struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, pad, info, data
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGIN_LOCAL = 1
_LINGER_RESET = struct.pack("ii", 1, 0)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (``prctl(2)``)."""
    if _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a short name for a Unix socket's path, which may have 107 bytes at most."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _enter(descriptor: int) -> None:
    # os.setns is there from Python 3.12 on
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Network namespaces by name: the files of ``folder``, as ``ip netns`` makes them.

    No descriptor is kept: a pod's namespace has to go when the pod goes, and its name may come
    back with another one behind it.
    """

    folder: Path
    home: int

    @classmethod
    def at(cls, folder: Path) -> Namespaces:
        """Take the namespace that this thread is in as the one to come back to."""
        return cls(folder, os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Let this thread be in the namespace ``name``; raises OSError where it cannot."""
        descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(descriptor)
        finally:
            os.close(descriptor)
        try:
            yield
        finally:
            _enter(self.home)

    def identity(self, name: str) -> int:
        """Return what tells a namespace from another that has its name later."""
        return (self.folder / name).stat().st_ino

    def socket(self, name: str, address: str, kind: int, protocol: int = 0) -> socket.socket:
        """Make a non-blocking socket in a namespace, of the family that ``address`` has."""
        with self.inside(name):
            family = socket.AF_INET6 if is_ipv6(address) else socket.AF_INET
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        _keep_errors(made)
        return made


def is_ipv6(address: str) -> bool:
    """Whether an address is IPv6; raises ValueError on what is no address."""
    return isinstance(ipaddress.ip_address(address), ipaddress.IPv6Address)


def _keep_errors(made: socket.socket) -> None:
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)


def send_from(made: socket.socket, source: str) -> None:
    """Bind to a source address and leave the port to ``connect``, which has far more to give."""
    if made.type != socket.SOCK_RAW:
        made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    made.bind((source, 0))


def listen_at(made: socket.socket, address: str, port: int) -> None:
    """Bind a server's socket; the address need not be there yet."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    if not ipaddress.ip_address(address).is_unspecified:
        # Goes before a server at all addresses that lets others in, such as the outside host's.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))


def close_at_once(made: socket.socket) -> None:
    """Close with a reset, which leaves no TIME_WAIT behind: probes come by the thousand."""
    with contextlib.suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    made.close()


def retry_steadily(made: socket.socket) -> None:
    """Let TCP send again at a steady pace for a while, not ever more seldom (``tcp(7)``)."""
    made.setsockopt(socket.IPPROTO_TCP, _TCP_THIN_LINEAR_TIMEOUTS, 1)


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry of a socket's error queue: what this host knows of an error.

    ``local`` is set where no ICMP error came; ``offender`` is who sent the ICMP error, and ``own``
    is set where that was the address that the socket itself sends from.
    """

    local: bool
    kind: int
    code: int
    offender: str
    own: bool = False

    def __str__(self) -> str:
        """Return it as a person would write it: ``ICMP type 3 code 13 from 10.2.0.1``."""
        if self.local:
            return "found by this host itself"
        return f"ICMP type {self.kind} code {self.code} from {self.offender or 'nobody'}"


def noted_error(made: socket.socket) -> Noted | None:
    """Take the oldest entry out of a socket's error queue; ``None`` where it is empty."""
    try:
        _, ancillary, _, _ = made.recvmsg(64, 512, _MSG_ERRQUEUE)
    except OSError:
        return None
    for level, kind, data in ancillary:
        if (level, kind) in _ERROR_MESSAGES:
            return _read_error(bytes(data), str(made.getsockname()[0]))
    return None


_ERROR_MESSAGES = {(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)}


def _read_error(data: bytes, own: str) -> Noted:
    _, origin, kind, code, _, _, _ = _EXTENDED_ERROR.unpack_from(data)
    offender = _offender(data[_EXTENDED_ERROR.size :])
    return Noted(origin == _ORIGIN_LOCAL, kind, code, offender, own=offender == own)


def _offender(sockaddr: bytes) -> str:
    """Read the address that follows the error (``SO_EE_OFFENDER``)."""
    family = int.from_bytes(sockaddr[:2], sys.byteorder)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, sockaddr[4:8])
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return ""
