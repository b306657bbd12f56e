"""Makes a Linux bridge show its pods' packets to our tables, and puts it back at the end.

Frames between two ports of a bridge do not pass IP's forward hook by themselves. There
are two ways to change that, steps of a ladder:

1. The bridge's own ``nf_call_iptables`` and ``nf_call_ip6tables``. They work while the global
   ``bridge-nf-call-iptables`` is 0, and leave other bridges alone. They need br_netfilter.
2. Rules of table ``bridge npd`` that turn the frames to the bridge itself, which routes them
   (:mod:`enforcer.ruleset.bridge`). They need nothing, but every port has to lead to a pod: what
   comes from other machines is not ours to route.

Each is proved before it is believed (:mod:`enforcer.selfcheck`): the first before the rules go in,
the second afterwards, since it consists of them.

Which flags were otherwise before us is remembered in table ``bridge npd`` itself, in a set for each
flag: it lives as long as the bridge's network namespace, and there is no file to go stale.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enforcer import programs
from enforcer.nft.objects import Ruleset
from enforcer.rtnetlink import send_redirects
from enforcer.ruleset.names import BRIDGE
from enforcer.selfcheck import Bridge, prove_nf_call, prove_turn
from enforcer.wiring import BridgeFlag, SameNode

Link = Mapping[str, Any]

logger = logging.getLogger(__name__)

BR_NETFILTER: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
CALLS: Final = (BridgeFlag.IPV4, BridgeFlag.IPV6)
RETRY_SECONDS: Final = 10.0
"""A failed proof takes two seconds; it is not repeated with each change of the cluster."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a bridge shows its packets, what had to be changed, and why it may still not."""

    way: SameNode
    changed: frozenset[BridgeFlag] = frozenset()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _State:
    """What a proof is about: as long as it is the same the proof stands."""

    namespace: int
    index: int
    bridge: Bridge
    way: SameNode


class Bridges:
    """Takes each pod bridge up the ladder, and remembers what was proved of it."""

    def __init__(self, choice: SameNode) -> None:
        """Take the steps that ``choice`` allows."""
        self._choice = choice
        self._proved: set[_State] = set()
        self._failed: dict[_State, tuple[float, str]] = {}
        self._turned: dict[str, _State] = {}

    def show(self, link: Link, uplinks: Sequence[str]) -> Shown:
        """Make a bridge show its packets, as far as that is possible before our rules are in.

        ``link`` is what ``ip -d -j link`` says of it, ``uplinks`` its ports to other machines.
        """
        self._turned.pop(link["ifname"], None)
        if self._choice is SameNode.TURN:
            return self._turn(link, uplinks)
        shown = self._nf_call(link)
        if not shown.problem or self._choice is SameNode.NF_CALL:
            return shown
        turned = self._turn(link, uplinks)
        both = f"{shown.problem}; {turned.problem}" if turned.problem else ""
        return Shown(turned.way, turned.changed | shown.changed, both)

    def confirm(self) -> dict[str, str]:
        """Prove what could not be proved before our rules were in; return what is not so.

        By bridge, why its packets may not meet our rules.
        """
        found = {name: self._prove(state) for name, state in self._turned.items()}
        return {name: problem for name, problem in found.items() if problem}

    def _nf_call(self, link: Link) -> Shown:
        name, way = link["ifname"], SameNode.NF_CALL
        if not _has_br_netfilter():
            return Shown(
                way,
                problem=f"packets between pods on bridge {name} meet no rule: the kernel lacks "
                "br_netfilter; run: modprobe br_netfilter",
            )
        off = frozenset(flag for flag in CALLS if not _data(link).get(flag.value))
        if off and (problem := _set_flags(name, dict.fromkeys(off, 1))):
            return Shown(way, problem=problem)
        state = _state(link, way)
        if off:
            self._proved.discard(state)
        return Shown(way, off, self._prove(state))

    def _turn(self, link: Link, uplinks: Sequence[str]) -> Shown:
        name = link["ifname"]
        if uplinks:
            return Shown(
                SameNode.TURN,
                problem=f"bridge {name} has ports to other machines ({', '.join(uplinks)}), whose "
                "packets cannot be turned to it",
            )
        self._turned[name] = _state(link, SameNode.TURN)
        changed = frozenset({BridgeFlag.REDIRECTS} if _sends_redirects(name) else ())
        problem = _set_flags(name, dict.fromkeys(changed, 0))
        return Shown(SameNode.TURN, changed if not problem else frozenset(), problem)

    def _prove(self, state: _State) -> str:
        """Return why a bridge is not proved to show its packets; a proof is done once."""
        when, problem = self._failed.get(state, (0.0, ""))
        if state in self._proved or (problem and time.monotonic() - when < RETRY_SECONDS):
            return problem
        prove = prove_turn if state.way is SameNode.TURN else prove_nf_call
        problem = prove(state.bridge)
        self._failed.pop(state, None)
        if problem:
            self._failed[state] = time.monotonic(), problem
            return problem
        self._proved.add(state)
        logger.info(
            "proved that bridge %s shows its packets (%s)", state.bridge.name, state.way.value
        )
        return ""


def restore(have: Ruleset) -> tuple[str, ...]:
    """Put back the flags that table ``bridge npd`` remembers; return what failed."""
    table = have.tables.get(BRIDGE)
    found: dict[str, dict[BridgeFlag, int]] = {}
    for flag in BridgeFlag:
        remembered = table.sets.get(flag.value) if table else None
        for element in remembered.elements if remembered else ():
            found.setdefault(element.strip('"'), {})[flag] = flag not in CALLS
    present = {bridge: flags for bridge, flags in found.items() if _exists(bridge)}
    return tuple(problem for item in present.items() if (problem := _set_flags(*item)))


def _exists(interface: str) -> bool:
    return _sysctls(interface).exists()


def _sysctls(interface: str) -> Path:
    # Not /sys/class/net: a mounted sysfs shows the namespace that it was mounted in.
    return Path("/proc/sys/net/ipv4/conf", interface)


def _has_br_netfilter() -> bool:
    if not BR_NETFILTER.exists() and (modprobe := shutil.which("modprobe")):
        subprocess.run([modprobe, "-q", "br_netfilter"], capture_output=True, check=False)  # noqa: S603
    return BR_NETFILTER.exists()


def _state(link: Link, way: SameNode) -> _State:
    # Not /proc/self: that is the first thread, which may live in another namespace.
    namespace = Path("/proc/thread-self/ns/net").stat().st_ino
    bridge = Bridge(link["ifname"], int(link["mtu"]), link["address"])
    return _State(namespace, int(link["ifindex"]), bridge, way)


def _data(link: Link) -> Mapping[str, Any]:
    found: Mapping[str, Any] = link.get("linkinfo", {}).get("info_data", {})
    return found


def _sends_redirects(bridge: str) -> bool:
    try:
        return (_sysctls(bridge) / BridgeFlag.REDIRECTS.value).read_text().strip() != "0"
    except FileNotFoundError:
        return False  # the bridge has gone since links were read; the next look knows


def _set_flags(bridge: str, flags: Mapping[BridgeFlag, int]) -> str:
    """Set flags of a bridge, and return why that failed."""
    words = [word for flag in CALLS if flag in flags for word in (flag.value, f"{flags[flag]:d}")]
    command = [programs.find("ip"), "link", "set", "dev", bridge, "type", "bridge", *words]
    try:
        if BridgeFlag.REDIRECTS in flags:
            send_redirects(bridge, on=bool(flags[BridgeFlag.REDIRECTS]))
        if words:
            subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        return f"bridge {bridge} could not be set up: {' '.join(command)}: {error.stderr.strip()}"
    except OSError as error:
        return f"bridge {bridge} could not be set up: {error}"
    return ""
