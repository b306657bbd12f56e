"""A virtual service of IPVS, programmed as kube-proxy does: by generic netlink.

Commands and attributes are those of linux/ip_vs.h; kube-proxy's way is masquerading ("NAT" to
ipvsadm), the address on an interface of the node, and connections tracked.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from tests.kernel.netlab import Namespace

GENERIC: Final = 16  # NETLINK_GENERIC
CONTROLLER, GET_FAMILY, FAMILY_NAME, FAMILY_ID = 0x10, 3, 2, 1
NEW_SERVICE, NEW_DESTINATION = 1, 5
SERVICE, DESTINATION = 1, 2
REQUEST_WITH_ACKNOWLEDGEMENT: Final = 0x5  # NLM_F_REQUEST | NLM_F_ACK
ERROR: Final = 2  # NLMSG_ERROR
NESTED: Final = 0x8000
ALL_BITS: Final = 0xFFFFFFFF


def serve(space: Namespace, service: tuple[str, int], pod: tuple[str, int]) -> None:
    """Lead TCP connections for an address and port, as seen in a namespace, to a pod's."""
    address = service[0]
    width = ipaddress.ip_address(address).max_prefixlen
    space.run("ip", "addr", "add", f"{address}/{width}", "dev", "lo")
    space.run("sysctl", "-qw", "net.ipv4.vs.conntrack=1")
    space.call(_program, service, pod)


def _program(service: tuple[str, int], pod: tuple[str, int]) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC) as channel:
        family = _family(channel)
        virtual = _nested(SERVICE, _service(*service))
        real = _nested(DESTINATION, _destination(*pod))
        _ask(channel, family, NEW_SERVICE, virtual)
        _ask(channel, family, NEW_DESTINATION, virtual + real)


def _service(address: str, port: int) -> bytes:
    found = ipaddress.ip_address(address)
    version = socket.AF_INET if found.version == 4 else socket.AF_INET6
    mask = ALL_BITS if found.version == 4 else 128
    fields = (
        struct.pack("=H", version),
        struct.pack("=H", socket.IPPROTO_TCP),
        found.packed.ljust(16, b"\0"),
        struct.pack("!H", port),
        None,  # a firewall mark would take the place of the three above
        b"rr\0",
        struct.pack("=II", 0, ALL_BITS),
        struct.pack("=I", 0),
        struct.pack("=I", mask),
    )
    return b"".join(_attribute(kind, value) for kind, value in enumerate(fields, 1) if value)


def _destination(address: str, port: int) -> bytes:
    masquerading, weight, most, fewest = (struct.pack("=I", number) for number in (0, 1, 0, 0))
    packed = ipaddress.ip_address(address).packed.ljust(16, b"\0")
    fields = (packed, struct.pack("!H", port), masquerading, weight, most, fewest)
    return b"".join(_attribute(kind, value) for kind, value in enumerate(fields, 1))


def _family(channel: socket.socket) -> int:
    answer = _ask(channel, CONTROLLER, GET_FAMILY, _attribute(FAMILY_NAME, b"IPVS\0"))
    return next(
        int.from_bytes(value, "little") for kind, value in _attributes(answer) if kind == FAMILY_ID
    )


def _ask(channel: socket.socket, family: int, command: int, body: bytes) -> bytes:
    """Send a command; return the attributes of the answer before its acknowledgement."""
    payload = struct.pack("=BBH", command, 1, 0) + body
    length = 16 + len(payload)
    header = struct.pack("=IHHII", length, family, REQUEST_WITH_ACKNOWLEDGEMENT, 1, 0)
    channel.send(header + payload)
    found = b""
    while True:
        answer = channel.recv(65536)
        if struct.unpack_from("=H", answer, 4)[0] == ERROR:
            code = -struct.unpack_from("=i", answer, 16)[0]
            if code:
                raise OSError(code, os.strerror(code))
            return found
        found = answer[20:]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | NESTED, value)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
