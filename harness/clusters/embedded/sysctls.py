"""The kernel's settings of a network namespace, for the calling thread's own.

Every function says what it is for; the defaults of the machine must not shine through.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from harness.clusters.embedded.addresses import IpFamily
from harness.clusters.embedded.namespaces import sysctl

_WHICH = ("all", "default")
_VERSION6 = 6
_TIME_WAIT = "net/netfilter/nf_conntrack_tcp_timeout_time_wait"


def quiet(family: IpFamily) -> None:
    """Let nothing move that nobody sent: no redirects, no advertisements, no IPv6 without need."""
    for which in _WHICH:
        sysctl(f"net/ipv4/conf/{which}/rp_filter", 0)
        sysctl(f"net/ipv4/conf/{which}/send_redirects", 0)
        sysctl(f"net/ipv4/conf/{which}/accept_redirects", 0)
    ipv6(family)


def ipv6(family: IpFamily) -> None:
    """Switch IPv6 on or off; where it is on, an address is good at once (no DAD)."""
    wanted = _VERSION6 in family.versions
    for which in _WHICH:
        _ipv6(f"conf/{which}/disable_ipv6", int(not wanted))
        if wanted:
            _ipv6(f"conf/{which}/accept_dad", 0)
            _ipv6(f"conf/{which}/accept_ra", 0)
            _ipv6(f"conf/{which}/accept_redirects", 0)


def forwarding(family: IpFamily) -> None:
    """Be a router."""
    sysctl("net/ipv4/ip_forward", 1)
    if _VERSION6 in family.versions:
        _ipv6("conf/all/forwarding", 1)


def every_rejection() -> None:
    """Send every ICMP error.

    By default one a second goes to each peer (icmp_ratelimit), so that of many probes rejected at
    once most would look dropped, and others each time.
    """
    sysctl("net/ipv4/icmp_ratemask", 0)
    _ipv6("icmp/ratelimit", 0)
    _ipv6("icmp/ratemask", "")


def any_source(family: IpFamily) -> None:
    """Let sockets be bound to the addresses of a whole network that is owned (AnyIP)."""
    if _VERSION6 in family.versions:
        _ipv6("ip_nonlocal_bind", 1)


def loopback_node_ports() -> None:
    """Let what a node sends to 127.0.0.1 leave it after address translation."""
    sysctl("net/ipv4/conf/all/route_localnet", 1)


def time_wait(seconds: int) -> None:
    """Set conntrack's TIME_WAIT timeout; 0 leaves the kernel's."""
    if seconds:
        sysctl(_TIME_WAIT, seconds)


def bridge_netfilter(*, on: bool) -> None:
    """Show bridged frames to iptables and ip6tables, on every bridge."""
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        with contextlib.suppress(FileNotFoundError):
            sysctl(f"net/bridge/{name}", int(on))


def _ipv6(name: str, value: int | str) -> None:
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        sysctl(f"net/ipv6/{name}", value if value != "" else "\n")


def has_ipv6() -> bool:
    """Whether the kernel has IPv6."""
    return Path("/proc/sys/net/ipv6").exists()
