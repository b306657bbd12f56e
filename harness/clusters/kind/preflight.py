"""What a cluster of kind needs of this machine's kernel and disk, looked at before it is made.

Nodes are containers: they have the machine's kernel, its limits and its modules. What is missing
there shows only minutes later, as a node that does not become ready. So each look here names what
is wrong and the command that mends it, and changes nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.kind.config import IpFamily, KindShape, KubeProxyMode
from harness.clusters.kind.network import PodWiring

FEW_NODES = 2
LIMITS = {
    # https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files
    "fs.inotify.max_user_instances": (128, 512),
    "fs.inotify.max_user_watches": (8_192, 524_288),
}
"""What the kernel has to allow for a few nodes (its own defaults), and for more."""

GIB = 1 << 30
NODE_BYTES = GIB
"""Of disk that a node may fill: its pods' images and logs. kind's kubelets evict nobody for want
of disk, so a full one breaks etcd instead."""

NFTABLES_KERNEL = (5, 13)
"""https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to look; tests look elsewhere."""

    proc: Path = Path("/proc")
    kernel: str = os.uname().release
    store: Path | None = None
    """Docker's folder of images and containers; None where it is not known."""


def complaints(shape: KindShape, machine: Machine) -> Iterator[str]:
    """Yield a sentence with its command for each thing in which a cluster would fail."""
    nodes = 1 + shape.config.workers
    yield from _limits(machine, nodes)
    yield from _bridges(machine, shape.wiring)
    yield from _families(machine, shape.config.family)
    yield from _proxies(machine, shape.config.proxy)
    yield from _disk(machine, nodes)


def _limits(machine: Machine, nodes: int) -> Iterator[str]:
    for name, (for_few, for_more) in LIMITS.items():
        least = for_few if nodes <= FEW_NODES else for_more
        if int(_sysctl(machine, name) or least) < least:
            yield f"{name} is too low for {nodes} nodes; run: sysctl -w {name}={least}"


def _bridges(machine: Machine, wiring: PodWiring) -> Iterator[str]:
    if wiring is PodWiring.BRIDGED and not (machine.proc / "sys/net/bridge").is_dir():
        yield (
            "--cni bridged: netfilter cannot be shown a bridge's frames, nor kept from them;"
            " run: modprobe br_netfilter"
        )


def _families(machine: Machine, family: IpFamily) -> Iterator[str]:
    if family is IpFamily.IPV4:
        return
    name = "net.ipv6.conf.all.disable_ipv6"
    match _sysctl(machine, name):
        case "":
            yield f"--ip-family {family.value}: the kernel has no IPv6; boot without ipv6.disable=1"
        case "1":
            yield f"--ip-family {family.value}: IPv6 is switched off; run: sysctl -w {name}=0"


def _proxies(machine: Machine, proxy: KubeProxyMode) -> Iterator[str]:
    match proxy:
        case KubeProxyMode.IPVS if not (machine.proc / "net/ip_vs").exists():
            yield "--proxy kube-proxy-ipvs: the kernel has no IPVS; run: modprobe ip_vs"
        case KubeProxyMode.NFTABLES if _version(machine.kernel) < NFTABLES_KERNEL:
            least = ".".join(map(str, NFTABLES_KERNEL))
            yield (
                f"--proxy kube-proxy-nftables needs Linux {least}, and this is {machine.kernel};"
                " take --proxy kube-proxy-iptables"
            )


def _disk(machine: Machine, nodes: int) -> Iterator[str]:
    if machine.store is None or not machine.store.is_dir():
        return
    disk = os.statvfs(machine.store)
    free = disk.f_bavail * disk.f_frsize
    if free < nodes * NODE_BYTES:
        yield (
            f"{machine.store}: {free / GIB:.1f} GiB are free, too few for {nodes} nodes;"
            " run: docker system prune"
        )


def _sysctl(machine: Machine, name: str) -> str:
    """Return a sysctl's value; empty where the kernel has none of that name."""
    try:
        return (machine.proc / "sys" / Path(*name.split("."))).read_text().strip()
    except OSError:
        return ""


def _version(release: str) -> tuple[int, int]:
    major, minor = release.split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor[:2])) or 0)
