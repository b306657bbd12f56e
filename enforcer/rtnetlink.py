"""Questions and wishes to the kernel's routing netlink for which ``ip`` has no words.

What a link in *another* network namespace is and has (``IFLA_TARGET_NETNSID``): the kernel tells it
to who may administer that namespace, and the pod behind a veth is known before it has said a word.
A socket that tells when links and routes change. And a bridge's ``send_redirects``, whose file lies
in ``/proc/sys``, which no container may write without every privilege.
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
RTM_SETLINK: Final = 19
RTM_GETADDR: Final = 22
IFLA_ADDRESS: Final = 1
IFLA_AF_SPEC: Final = 26
IFLA_INET_CONF: Final = 1
IFLA_TARGET_NETNSID: Final = 46
IPV4_DEVCONF_SEND_REDIRECTS: Final = 6  # linux/ip.h
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_TARGET_NETNSID: Final = 10

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
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
SETTING: Final = struct.Struct("=I")
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


def send_redirects(link: str, *, on: bool) -> None:
    """Set whether the node sends ICMP redirects to whom it hears on a link; OSError if it cannot.

    The same as writing ``/proc/sys/net/ipv4/conf/LINK/send_redirects``, with CAP_NET_ADMIN alone.
    """
    setting = attribute(IPV4_DEVCONF_SEND_REDIRECTS, SETTING.pack(on))
    family = attribute(socket.AF_INET, attribute(IFLA_INET_CONF, setting))
    link_itself = LINK.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(link), 0, 0)
    body = link_itself + attribute(IFLA_AF_SPEC, family)
    flags = NLM_F_REQUEST | NLM_F_ACK
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.settimeout(TIMEOUT_SECONDS)
        channel.send(HEADER.pack(HEADER.size + len(body), RTM_SETLINK, flags, 1, 0) + body)
        _, answer = next(messages(channel.recv(RECEIVE_BYTES)))
    if code := -ERROR_CODE.unpack_from(answer)[0]:
        raise OSError(code, os.strerror(code))


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
