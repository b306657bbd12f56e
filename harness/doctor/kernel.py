"""The privileges and the kernel features that packet programs and pods are made of, each tried."""

from __future__ import annotations

import os
import platform
import socket
import struct
from pathlib import Path

from harness.doctor.findings import (
    NO_NAMESPACES,
    TIMEOUT,
    Finding,
    absent,
    attempt,
    attempt_in_namespace,
    found,
)
from harness.requirements import as_root

_GENERIC_NETLINK = 16  # NETLINK_GENERIC, linux/netlink.h
_CONTROLLER = 0x10  # GENL_ID_CTRL, linux/genetlink.h
_GET_FAMILY, _FAMILY_NAME = 3, 2  # CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME
_REQUEST = 1  # NLM_F_REQUEST
_ERROR = 2  # NLMSG_ERROR: the type of the answer where there is no such family
_GATES = (
    ("kernel.unprivileged_userns_clone", "0", "1"),  # Debian
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu
    ("user.max_user_namespaces", "0", "15000"),
)
"""What shuts user namespaces for those who are not root: a sysctl, and its values shut and open."""
_VETH = ("ip", "link", "add", "name", "v", "type", "veth", "peer", "name", "w")


def look_machine() -> Finding:
    """Report the kernel, the cores and the memory, which bound how large a study can be."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return found(f"Linux {platform.release()}, {os.cpu_count()} cores, {memory:.0f} GiB")


def look_root() -> Finding:
    """Tell whether this is root, and may make the namespaces of a cluster."""
    if os.geteuid() != 0:
        return absent("not root", as_root())
    tried = attempt(["unshare", "--mount", "--net", "--pid", "--fork", "true"])
    if tried.succeeded:
        return found("root, and may make namespaces")
    return absent(f"root, but {tried.said}", NO_NAMESPACES)


def look_user_namespaces() -> Finding:
    """Tell whether someone who is not root could make network namespaces."""
    tried = attempt(["unshare", "--user", "--map-root-user", "--net", "true"])
    openers = (f"sysctl -w {name}={good}" for name, bad, good in _GATES if _reads(name) == bad)
    return tried.quiet_finding(next(openers, "do without: as root nothing needs them"))


def _reads(sysctl: str) -> str:
    path = Path("/proc/sys", *sysctl.split("."))
    return path.read_text(encoding="ascii").strip() if path.exists() else ""


def look_nf_tables() -> Finding:
    """Load chains, an interval set, a concatenated verdict map and a fib lookup."""
    return _loads(
        "add table inet t",
        "add chain inet t c { type filter hook forward priority filter - 5; }",
        "add set inet t s { type ipv4_addr . inet_service; flags interval; }",
        "add map inet t m { type ipv4_addr . inet_service : verdict; }",
        "add rule inet t c fib saddr . iif oif 0 drop",
        remedy=_stock("nf_tables", "CONFIG_NF_TABLES and CONFIG_NFT_FIB_INET"),
    )


def look_conntrack() -> Finding:
    """Load rules that read a connection's state, its mark and both of its tuples."""
    return _loads(
        "add table inet t",
        "add chain inet t c { type filter hook forward priority filter - 5; }",
        "add map inet t m { type ipv4_addr . inet_service : verdict; }",
        "add rule inet t c ct state established ct mark and 0xffff0000 == 0x10000 accept",
        "add rule inet t c meta l4proto tcp ct original ip saddr . ct reply proto-src vmap @m",
        remedy=_stock("nf_conntrack", "CONFIG_NF_CONNTRACK_MARK and CONFIG_NFT_CT"),
    )


def look_nat() -> Finding:
    """Load the rules of a Service proxy."""
    return _loads(
        "add table ip t",
        "add chain ip t p { type nat hook prerouting priority dstnat; }",
        "add chain ip t q { type nat hook postrouting priority srcnat; }",
        "add rule ip t p dnat to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }",
        "add rule ip t q masquerade",
        remedy=_stock("nft_nat", "CONFIG_NFT_NAT and CONFIG_NFT_MASQ"),
    )


def look_veth() -> Finding:
    """Make a veth pair: the wire of every pod."""
    tried = attempt_in_namespace(_VETH)
    return tried.quiet_finding(_stock("veth", "CONFIG_VETH"))


def look_bridge_family() -> Finding:
    """Load a table that checks what a bridge's ports send."""
    return _loads(
        "add table bridge t",
        "add set bridge t s { type ifname . ipv4_addr; }",
        "add chain bridge t c { type filter hook prerouting priority -300; }",
        "add rule bridge t c iifname . ip saddr != @s counter drop",
        remedy=_stock("nf_tables", "CONFIG_NF_TABLES_BRIDGE"),
    )


def look_br_netfilter() -> Finding:
    """Make a bridge and set its own switch that shows its frames to the ip hooks."""
    script = (
        "ip link add name b type bridge && ip link set dev b type bridge nf_call_iptables 1 "
        "&& test -e /proc/sys/net/bridge/bridge-nf-call-iptables"
    )
    return attempt_in_namespace(["sh", "-c", script]).quiet_finding("modprobe br_netfilter")


def look_flowtables() -> Finding:
    """Load a flowtable, by which established connections pass all rules by."""
    return _loads(
        "add table inet t",
        "add flowtable inet t f { hook ingress priority 0; devices = { lo }; }",
        "add chain inet t c { type filter hook forward priority filter; }",
        "add rule inet t c meta l4proto tcp flow add @f",
        remedy=_stock("nf_flow_table", "CONFIG_NF_FLOW_TABLE"),
    )


def look_sctp_conntrack() -> Finding:
    """Look whether conntrack, once in use, follows SCTP associations."""
    script = (
        "echo 'table inet t { chain c { type filter hook input priority 0; ct state new; }; }' "
        "| nft -f - && test -e /proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established"
    )
    remedy = _stock("nf_conntrack", "CONFIG_NF_CT_PROTO_SCTP")
    return attempt_in_namespace(["sh", "-c", script]).quiet_finding(remedy)


def look_sctp_sockets() -> Finding:
    """Open an SCTP socket."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        return absent(error.strerror or str(error), _stock("sctp", "CONFIG_IP_SCTP"))
    return found()


def look_ipvs() -> Finding:
    """Ask the kernel for the generic netlink family that programs IPVS."""
    if _has_netlink_family("IPVS"):
        return found()
    return absent("no such netlink family", _stock("ip_vs", "CONFIG_IP_VS"))


def _has_netlink_family(name: str) -> bool:
    """Ask the controller; see https://docs.kernel.org/userspace-api/netlink/intro.html."""
    value = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(value), _FAMILY_NAME) + value
    body = struct.pack("=BBH", _GET_FAMILY, 1, 0) + attribute + b"\0" * (-len(attribute) % 4)
    request = struct.pack("=IHHII", 16 + len(body), _CONTROLLER, _REQUEST, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _GENERIC_NETLINK) as channel:
        channel.settimeout(TIMEOUT)
        channel.send(request)
        (kind,) = struct.unpack_from("=H", channel.recv(65536), 4)
    return bool(kind != _ERROR)


def _loads(*program: str, remedy: str) -> Finding:
    """Load an nftables program, one command a line, in a namespace of its own."""
    return attempt_in_namespace(["nft", "-f", "-"], "\n".join(program) + "\n").finding(remedy)


def _stock(module: str, option: str) -> str:
    """Say how to get a kernel feature."""
    return f"modprobe {module}, or use a kernel with {option}, as Debian's and Ubuntu's are"
