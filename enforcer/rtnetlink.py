"""Questions to the kernel's routing netlink that ``ip`` cannot ask.

What a link in *another* network namespace is and has (``IFLA_TARGET_NETNSID``): the kernel tells it
to who may administer that namespace, and the pod behind a veth is known before it has said a word.
And a socket that tells when links and routes change.
https://docs.kernel.org/userspace-api/netlink/intro.html, linux/rtnetlink.h, linux/if_addr.h
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, Self

from enforcer.errors import KernelError
from enforcer.model.net import IPAddress

RTM_GETLINK: Final = 18
RTM_GETADDR: Final = 22
IFLA_ADDRESS: Final = 1
IFLA_TARGET_NETNSID: Final = 46
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_TARGET_NETNSID: Final = 10

NLM_F_REQUEST: Final = 0x1
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
SOL_NETLINK: Final = 270
NETLINK_GET_STRICT_CHK: Final = 12

RTMGRP_LINK: Final = 0x1
RTMGRP_IPV4_ROUTE: Final = 0x40
RTMGRP_IPV6_ROUTE: Final = 0x400
CHANGES: Final = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE

TYPE_MASK: Final = 0x3FFF  # without the flags for nesting and byte order

HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ATTRIBUTE: Final = struct.Struct("=HH")
LINK: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
ERROR_CODE: Final = struct.Struct("=i")
NAMESPACE: Final = struct.Struct("=i")
RECEIVE_BYTES: Final = 1 << 17
TIMEOUT_SECONDS: Final = 10.0


class Namespaces:
    """Looks into the network namespaces behind veth pairs."""

    def __enter__(self) -> Self:
        """Open the socket that all questions go through."""
        self._channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._channel.settimeout(TIMEOUT_SECONDS)
        # Without it the kernel takes a filter that it does not know for no filter.
        self._channel.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._channel.close()

    def mac(self, namespace: int, index: int) -> str:
        """Return the MAC address of a link by its index in a namespace; empty when it is gone."""
        question = LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)
        wanted = attribute(IFLA_TARGET_NETNSID, NAMESPACE.pack(namespace))
        for payload in self._ask(RTM_GETLINK, NLM_F_REQUEST, question + wanted):
            for kind, value in attributes(payload, LINK.size):
                if kind == IFLA_ADDRESS:
                    return value.hex(":")
        return ""

    def addresses(self, namespace: int, index: int) -> frozenset[IPAddress]:
        """Return the addresses of a link by its index in a namespace; none when it is gone."""
        question = ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, index)
        wanted = attribute(IFA_TARGET_NETNSID, NAMESPACE.pack(namespace))
        found = self._ask(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, question + wanted)
        return frozenset(_address(payload) for payload in found)

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Return every answer to a question; none when namespace or link are gone."""
        try:
            self._channel.send(HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body)
            return list(self._answers(dump=bool(flags & NLM_F_DUMP)))
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.EINVAL, errno.ENOENT}:
                return []
            msg = f"the kernel did not tell what is behind a veth pair: {error}"
            raise KernelError(msg) from error

    def _answers(self, *, dump: bool) -> Iterator[bytes]:
        while True:
            for kind, payload in messages(self._channel.recv(RECEIVE_BYTES)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -ERROR_CODE.unpack_from(payload)[0]
                    raise OSError(code, os.strerror(code))
                yield payload
                if not dump:
                    return


class LinkWatch:
    """Tells that links or routes of this network namespace have changed since the last question."""

    def __init__(self) -> None:
        """Listen from now on."""
        self._channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._channel.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._channel.bind((0, CHANGES))

    def fileno(self) -> int:
        """Return the file to wait for."""
        return self._channel.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._channel.close()

    def changed(self) -> bool:
        """Whether anything has changed; what was not taken in time counts as a change."""
        found = False
        while True:
            try:
                found = bool(self._channel.recv(RECEIVE_BYTES)) or found
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and payload of each message of what was received."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, offset)
        yield kind, data[offset + HEADER.size : offset + length]
        offset += length + 3 & ~3


def _address(payload: bytes) -> IPAddress:
    # IFA_ADDRESS is the other end of a point-to-point link that has an IFA_LOCAL.
    found = dict(attributes(payload, ADDRESS.size))
    return ipaddress.ip_address(found.get(IFA_LOCAL, found.get(IFA_ADDRESS, b"")))


def attributes(payload: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute behind ``offset``."""
    while offset + ATTRIBUTE.size <= len(payload):
        length, kind = ATTRIBUTE.unpack_from(payload, offset)
        if length < ATTRIBUTE.size:
            return
        yield kind & TYPE_MASK, payload[offset + ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute; its value is a multiple of four bytes long."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value
