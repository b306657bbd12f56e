"""Makes a Linux bridge hand its pods' packets to netfilter, and puts it back at the end.

Frames between two ports of a bridge do not pass the forward hook of table inet by themselves. The
bridge's own ``nf_call_iptables`` and ``nf_call_ip6tables`` make them: they work while the global
``bridge-nf-call-iptables`` is 0, and they leave other bridges alone. They need br_netfilter.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from enforcer.selfcheck import prove

FLAGS: Final = ("nf_call_iptables", "nf_call_ip6tables")
BR_NETFILTER: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
STATE_FOLDER: Final = Path("/run/npd")

_proved: set[tuple[int, int]] = set()  # a proof disturbs the bridge a little: once is enough


def show_packets(bridge: str, links: Sequence[Mapping[str, Any]]) -> str:
    """Set the bridge's flags unless they are, and prove once that they work.

    Returns why it cannot be done, or an empty string.
    """
    if not _has_br_netfilter():
        return (
            f"packets between pods on bridge {bridge} meet no rule: the kernel lacks br_netfilter; "
            "run: modprobe br_netfilter"
        )
    before = _flags(bridge, links)
    if not all(before.values()):
        _remember(bridge, before)
        if problem := _set_flags(bridge, dict.fromkeys(FLAGS, 1)):
            return problem
    elif _identity(bridge, links) in _proved:
        return ""
    problem = prove(bridge, _mtu(bridge, links))
    if not problem:
        _proved.add(_identity(bridge, links))
    return problem


def restore() -> tuple[str, ...]:
    """Give every bridge of this network namespace the flags that it had; return what failed."""
    file = _state_file()
    if not file.exists():
        return ()
    saved = msgspec.json.decode(file.read_bytes(), type=dict[str, dict[str, int]])
    present = {bridge: flags for bridge, flags in saved.items() if _exists(bridge)}
    failed = [problem for item in present.items() if (problem := _set_flags(*item))]
    file.unlink()
    return tuple(failed)


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
    return _namespace(), index


def _mtu(bridge: str, links: Iterable[Mapping[str, Any]]) -> int:
    return next(int(link["mtu"]) for link in links if link["ifname"] == bridge)


def _flags(bridge: str, links: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    for link in links:
        if link["ifname"] == bridge:
            data = link.get("linkinfo", {}).get("info_data", {})
            return {flag: int(data.get(flag, 0)) for flag in FLAGS}
    return dict.fromkeys(FLAGS, 0)


def _set_flags(bridge: str, flags: Mapping[str, int]) -> str:
    words = [word for flag, value in flags.items() for word in (flag, str(value))]
    command = ["ip", "link", "set", "dev", bridge, "type", "bridge", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        return f"bridge {bridge} could not be set up: {' '.join(command)}: {result.stderr.strip()}"
    return ""


def _state_file() -> Path:
    """Return the file of this network namespace: several nodes may share one file system."""
    return STATE_FOLDER / f"bridges-{_namespace()}.json"


def _namespace() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def _remember(bridge: str, flags: Mapping[str, int]) -> None:
    file = _state_file()
    saved: dict[str, Any] = msgspec.json.decode(file.read_bytes()) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode({bridge: dict(flags), **saved}))
