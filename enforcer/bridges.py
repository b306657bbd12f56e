"""Makes a Linux bridge hand its pods' packets to netfilter, and puts it back at the end.

Frames between two ports of a bridge do not pass the forward hook of table inet by themselves. The
bridge's own ``nf_call_iptables`` and ``nf_call_ip6tables`` make them: they work while the global
``bridge-nf-call-iptables`` is 0, and they leave other bridges alone. They need br_netfilter.

Which flags were off before us is remembered in table ``bridge npd`` itself, in a set for each flag:
it lives as long as the bridge's network namespace, and there is no file to go stale.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enforcer import programs
from enforcer.nft.objects import Ruleset
from enforcer.ruleset.names import BRIDGE
from enforcer.selfcheck import prove
from enforcer.wiring import BridgeFlag

BR_NETFILTER: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")

_proved: set[tuple[int, int]] = set()  # a proof disturbs the bridge a little: once is enough


@dataclass(frozen=True, slots=True)
class Shown:
    """The flags that had to be switched on, and why packets may still not be seen."""

    switched_on: frozenset[BridgeFlag] = frozenset()
    problem: str = ""


def show_packets(bridge: str, links: Sequence[Mapping[str, Any]]) -> Shown:
    """Switch on the bridge's flags unless they are, and prove once that they work."""
    if not _has_br_netfilter():
        return Shown(
            problem=f"packets between pods on bridge {bridge} meet no rule: the kernel lacks "
            "br_netfilter; run: modprobe br_netfilter"
        )
    off = _flags_off(bridge, links)
    if not off and _identity(bridge, links) in _proved:
        return Shown()
    if off and (problem := _set_flags(bridge, dict.fromkeys(BridgeFlag, 1))):
        return Shown(problem=problem)
    problem = prove(bridge, _mtu(bridge, links))
    if not problem:
        _proved.add(_identity(bridge, links))
    return Shown(off, problem)


def restore(have: Ruleset) -> tuple[str, ...]:
    """Switch off the flags that table ``bridge npd`` remembers; return what failed."""
    table = have.tables.get(BRIDGE)
    found: dict[str, dict[BridgeFlag, int]] = {}
    for flag in BridgeFlag:
        remembered = table.sets.get(flag.value) if table else None
        for element in remembered.elements if remembered else ():
            found.setdefault(element.strip('"'), {})[flag] = 0
    present = {bridge: flags for bridge, flags in found.items() if _exists(bridge)}
    return tuple(problem for item in present.items() if (problem := _set_flags(*item)))


def _exists(interface: str) -> bool:
    # Not /sys/class/net: a mounted sysfs shows the namespace that it was mounted in.
    return Path(f"/proc/sys/net/ipv4/conf/{interface}").exists()


def _has_br_netfilter() -> bool:
    if not BR_NETFILTER.exists() and (modprobe := shutil.which("modprobe")):
        subprocess.run([modprobe, "-q", "br_netfilter"], capture_output=True, check=False)  # noqa: S603
    return BR_NETFILTER.exists()


def _identity(bridge: str, links: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Return what tells a bridge from another of the same name: its namespace and its index."""
    index = next(int(link["ifindex"]) for link in links if link["ifname"] == bridge)
    # Not /proc/self: that is the first thread, which may live in another namespace.
    return Path("/proc/thread-self/ns/net").stat().st_ino, index


def _mtu(bridge: str, links: Iterable[Mapping[str, Any]]) -> int:
    return next(int(link["mtu"]) for link in links if link["ifname"] == bridge)


def _flags_off(bridge: str, links: Iterable[Mapping[str, Any]]) -> frozenset[BridgeFlag]:
    link = next(link for link in links if link["ifname"] == bridge)
    data = link.get("linkinfo", {}).get("info_data", {})
    return frozenset(flag for flag in BridgeFlag if not data.get(flag.value))


def _set_flags(bridge: str, flags: Mapping[BridgeFlag, int]) -> str:
    words = [word for flag, value in flags.items() for word in (flag.value, str(value))]
    command = [programs.find("ip"), "link", "set", "dev", bridge, "type", "bridge", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        return f"bridge {bridge} could not be set up: {' '.join(command)}: {result.stderr.strip()}"
    return ""
