"""Proves with packets that frames between two ports of a bridge meet our rules.

A flag that is set is no proof: the kernel may lack br_netfilter, or a later one may change what the
flag does. Nor is a rule that is loaded. So two ports of our own join the bridge for some
milliseconds, one packet a family is sent from the one to the other, between addresses for
documentation (RFC 5737, RFC 3849), and a table of its own counts and drops it: in the forward hook
where the bridge hands its packets to netfilter, and before routing where they are turned to the
bridge, since what is to be routed meets the forward hook on every node.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from enforcer import programs
from enforcer.errors import EnforcerError, KernelError
from enforcer.nft.kernel import run_nft
from enforcer.ruleset.names import BRIDGE, turn_set

TABLE: Final = "npd_selfcheck"
PORTS: Final = ("npd-chk0", "npd-chk1")
PEERS: Final = ("npd-chk0p", "npd-chk1p")
# High addresses: a bridge takes the lowest address of its ports for its own. Nobody has the
# receiver's, or the node itself would take the packet in and forward it.
SENDER_MAC: Final = bytes.fromhex("feffffffff01")
RECEIVER_MAC: Final = bytes.fromhex("feffffffff02")

ETHERTYPE_IP: Final = 0x0800
ETHERTYPE_IPV6: Final = 0x86DD
UDP: Final = 17
DISCARD_PORT: Final = 9
HOP_LIMIT: Final = 64

PATIENCE_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.02

COUNTERS: Final = """
add table inet {table}
delete table inet {table}
add table inet {table}
add chain inet {table} check {{ type filter hook {hook} priority -400; policy accept; }}
add rule inet {table} check {where} ip saddr 192.0.2.1 ip daddr 192.0.2.2 counter drop
add rule inet {table} check {where} ip6 saddr 2001:db8::1 ip6 daddr 2001:db8::2 counter drop
"""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge to be checked: its name, its MTU in bytes, its own MAC address."""

    name: str
    mtu: int
    mac: str


def prove_nf_call(bridge: Bridge) -> str:
    """Return why packets on the bridge are not proved to meet our hook; empty when they are."""
    where = f'iifname "{bridge.name}" oifname "{bridge.name}"'
    return _prove(bridge, COUNTERS.format(table=TABLE, hook="forward", where=where))


def prove_turn(bridge: Bridge) -> str:
    """Return why packets are not proved to be turned to the bridge; empty when they are."""
    port = f'element {BRIDGE} {turn_set(bridge.mac)} {{ "{PORTS[0]}" }}'
    where = f'iifname "{bridge.name}"'
    counters = COUNTERS.format(table=TABLE, hook="prerouting", where=where)
    try:
        return _prove(bridge, f"{counters}add {port}\n")
    finally:
        run_nft(["delete", *port.split()])


def _prove(bridge: Bridge, rules: str) -> str:
    try:
        counted = _count(bridge, rules)
    except (EnforcerError, OSError) as error:
        return f"packets on bridge {bridge.name} could not be proved to meet our rules: {error}"
    missing = [name for name, packets in counted.items() if not packets]
    if not missing:
        return ""
    return (
        f"packets between pods on bridge {bridge.name} do not meet our rules: "
        f"test packets were not seen ({', '.join(missing)})"
    )


def _count(bridge: Bridge, rules: str) -> dict[str, int]:
    frames = {"IPv4": _frame4()}
    if Path("/proc/sys/net/ipv6").exists():
        frames["IPv6"] = _frame6()
    try:
        _ip_batch(_wire_up(bridge))
        _nft(["-f", "-"], rules)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((PEERS[0], 0))
            counts = _send_until_counted(raw, list(frames.values()))
    finally:
        _clean_up()
    return dict(zip(frames, counts, strict=True))


def _send_until_counted(raw: socket.socket, frames: list[bytes]) -> list[int]:
    """Send the frames again and again until each was counted, or for two seconds.

    A port forwards only once the bridge has noticed that it is up, which takes it a moment.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        for frame in frames:
            raw.send(frame)
        counts = _read_counters()[: len(frames)]
        if all(counts) or time.monotonic() > end:
            return counts
        time.sleep(PAUSE_SECONDS)


def _wire_up(bridge: Bridge) -> list[str]:
    lines = []
    for port, peer in zip(PORTS, PEERS, strict=True):
        # The bridge's own MTU: it takes over the smallest of its ports.
        ends = f"{port} mtu {bridge.mtu} address fe:ff:ff:ff:ff:1{port[-1]}"
        lines.append(f"link add {ends} type veth peer name {peer} mtu {bridge.mtu}")
        lines.append(f"link set {peer} addrgenmode none up")  # says nothing by itself
        lines.append(f"link set {port} master {bridge.name} up")
    return lines


def _clean_up() -> None:
    """Take away what a check made, or a check that was killed left behind."""
    text = "".join(f"link del {port}\n" for port in PORTS)
    subprocess.run(  # noqa: S603 - arguments of our own
        [programs.find("ip"), "-force", "-batch", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    run_nft(["delete", "table", "inet", TABLE])


def _ip_batch(lines: list[str]) -> None:
    _clean_up()
    for command, text in (
        ([programs.find("ip"), "-batch", "-"], "".join(f"{line}\n" for line in lines)),
        # Known to the bridge beforehand: a frame to nobody would be shown to every pod.
        (
            [
                programs.find("bridge"),
                "fdb",
                "replace",
                _colons(RECEIVER_MAC),
                "dev",
                PORTS[1],
                "master",
                "static",
            ],
            "",
        ),
    ):
        result = subprocess.run(  # noqa: S603 - arguments of our own
            command, input=text, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise KernelError(f"{' '.join(command)}: {result.stderr.strip()}")


def _nft(arguments: list[str], text: str | None = None) -> str:
    result = run_nft(arguments, text)
    if result.returncode:
        raise KernelError(result.stderr.strip())
    return result.stdout


def _read_counters() -> list[int]:
    listing = msgspec.json.decode(_nft(["-j", "list", "chain", "inet", TABLE, "check"]))
    expressions = [item["rule"]["expr"] for item in listing["nftables"] if "rule" in item]
    return [
        part["counter"]["packets"] for rule in expressions for part in rule if "counter" in part
    ]


def _frame4() -> bytes:
    udp = _udp()
    source, target = (socket.inet_aton(text) for text in ("192.0.2.1", "192.0.2.2"))
    length = 20 + len(udp)
    header = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, HOP_LIMIT, UDP, 0) + source + target
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    return _ethernet(ETHERTYPE_IP) + header + udp


def _frame6() -> bytes:
    udp = _udp()
    ends = (socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8::1", "2001:db8::2"))
    header = struct.pack("!IHBB", 6 << 28, len(udp), UDP, HOP_LIMIT) + b"".join(ends)
    return _ethernet(ETHERTYPE_IPV6) + header + udp


def _ethernet(kind: int) -> bytes:
    return RECEIVER_MAC + SENDER_MAC + struct.pack("!H", kind)


def _udp() -> bytes:
    return struct.pack("!HHHH", DISCARD_PORT, DISCARD_PORT, 8, 0)


def _checksum(header: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of a header whose checksum field is 0."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _colons(mac: bytes) -> str:
    return mac.hex(":")
