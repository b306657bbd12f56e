"""What this machine must have for an embedded cluster; each function returns sentences.

An empty tuple means that nothing is missing. Nothing here changes the machine.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from harness.clusters.embedded.addresses import IpFamily
from harness.clusters.embedded.settings import Cni, Proxy, Shape
from harness.clusters.embedded.sysctls import has_ipv6
from harness.controlplane.programs import HOW_TO_GET, KUBE_PROXY
from harness.doctor.kernel import look_ipvs
from harness.errors import MissingError
from harness.requirements import as_root, find_tool, install_command

_TOOLS = ("unshare", "nft", "nginx", "ip")
_PROXY_TOOLS = {
    Proxy.KUBE_PROXY_NFTABLES: ("nft",),
    Proxy.KUBE_PROXY_IPTABLES: ("iptables", "iptables-restore"),
    Proxy.KUBE_PROXY_IPVS: ("iptables", "iptables-restore", "ipset"),
}
_SYS_ADMIN, _NET_ADMIN = 21, 12
_ENTER_NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child")
_TRIAL = """\
table ip trial {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ct state new fib daddr type local dnat to 127.0.0.1
  }
}
"""


def missing_tools() -> tuple[str, ...]:
    """Say which programs are missing, with the command that installs them."""
    absent = [tool for tool in _TOOLS if find_tool(tool) is None]
    if not absent:
        return ()
    return (f"not found: {', '.join(absent)}; run: {install_command(absent)}",)


def missing_privileges() -> tuple[str, ...]:
    """Say which privilege is missing to make namespaces."""
    if os.geteuid() != 0:
        what = "an embedded cluster is made of network namespaces, which needs root"
        return (f"{what}; run: {as_root()}",)
    granted = _capabilities()
    if all(granted >> bit & 1 for bit in (_SYS_ADMIN, _NET_ADMIN)):
        return ()
    sentence = (
        "root here may not make namespaces (no CAP_SYS_ADMIN and CAP_NET_ADMIN); "
        "in a container, start it with --privileged"
    )
    return (sentence,)


def missing_kernel() -> tuple[str, ...]:
    """Say whether the kernel lacks namespaces or nf_tables with NAT; tried in a namespace."""
    trial = subprocess.run(
        [*_ENTER_NAMESPACES, find_tool("nft") or "nft", "-f", "-"],
        input=_TRIAL,
        capture_output=True,
        text=True,
        check=False,
    )
    if trial.returncode == 0:
        return ()
    said = (trial.stderr.strip() or "no message").partition("\n")[0]
    sentence = (
        f"a new network namespace with an nftables NAT rule was refused ({said}); it needs "
        "a kernel with CONFIG_NF_TABLES and CONFIG_NFT_NAT: run: modprobe nft_chain_nat"
    )
    return (sentence,)


def missing_bridge_netfilter() -> tuple[str, ...]:
    """Say whether br_netfilter is missing, which ``--bridge-netfilter on`` and ``mixed`` need."""
    if Path("/proc/sys/net/bridge").exists():
        return ()
    return ("--bridge-netfilter needs the br_netfilter module; run: modprobe br_netfilter",)


def missing_ipv6(family: IpFamily) -> tuple[str, ...]:
    """Say whether the kernel lacks IPv6 for a cluster that has it."""
    if family is IpFamily.IPV4 or has_ipv6():
        return ()
    sentence = (
        f"--ip-family {family.value} needs IPv6, which this kernel was started without; "
        "boot it without ipv6.disable=1, or take --ip-family ipv4"
    )
    return (sentence,)


def missing_for_proxy(shape: Shape) -> tuple[str, ...]:
    """Say what the real kube-proxy lacks: its program, or what its mode needs."""
    sentences: list[str] = []
    if shape.proxy is Proxy.NFTABLES:
        return ()
    if KUBE_PROXY not in shape.programs:
        sentences.append(f"--proxy {shape.proxy.value} needs kube-proxy; {HOW_TO_GET}")
    if shape.proxy is Proxy.KUBE_PROXY_IPVS:
        ipvs = look_ipvs()
        if not ipvs.present:
            sentences.append(f"--proxy kube-proxy-ipvs: this kernel has no IPVS; {ipvs.remedy}")
    absent = [tool for tool in _PROXY_TOOLS[shape.proxy] if find_tool(tool) is None]
    if absent:
        tools = install_command(absent)
        sentences.append(f"--proxy {shape.proxy.value} needs {', '.join(absent)}; run: {tools}")
    return tuple(sentences)


def require(shape: Shape) -> None:
    """Raise MissingError with everything that a cluster of this shape lacks here."""
    lacking = missing_privileges() + missing_tools()
    if not lacking:
        lacking = missing_kernel()
        if shape.cni is Cni.BRIDGED and (shape.bridge_netfilter or shape.mixed_netfilter):
            lacking += missing_bridge_netfilter()
        lacking += missing_ipv6(shape.ip_family)
        lacking += missing_for_proxy(shape)
    if lacking:
        raise MissingError("\n".join(lacking))


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
