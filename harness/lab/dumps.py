"""Rules that were saved elsewhere, made to be about the lab's measured pod.

A dump speaks of its own node's pods. One of them gives its place to the measured pod: their
addresses are exchanged in the rules and in the sets, so that a packet walks as many rules as it
would have on its own node.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.lab.guest.network import POD_A

_POD_JUMP = re.compile(r"^-A .*?-d (\d+\.\d+\.\d+\.\d+)(?:/32)? .*-j KUBE-POD-FW-", re.MULTILINE)
"""How kube-router, of whichever version, leads what is for a pod to the pod's chain."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What ``iptables-save`` and ``ipset save`` printed on a node; ``pod`` is one of its pods."""

    iptables: str
    ipset: str
    pod: str

    def rules(self) -> str:
        """Return the rules for ``iptables-restore``, about the measured pod."""
        return _exchanged(self.iptables, self.pod)

    def sets(self) -> str:
        """Return the sets for ``ipset restore``, with the measured pod among them."""
        return _exchanged(self.ipset, self.pod)


def read(iptables: Path, ipset: Path | None, pod: str = "") -> Dump:
    """Read a dump; without ``pod`` the one in the middle of kube-router's pods is measured.

    UsageError where the rules know no such pod: they would be measured on nobody's way.
    """
    text = iptables.read_text()
    found = pod or _middle_pod(text)
    if not found or not re.search(_address(found), text):
        raise UsageError(f"--rules: {_complaint(iptables, found)}")
    return Dump(text, ipset.read_text() if ipset else "", found)


def _complaint(path: Path, pod: str) -> str:
    if pod:
        return f"{path} has no rule about {pod}, the pod of --pod"
    return f"{path} has no pod in kube-router's manner; name one whose rules are meant: --pod"


def _middle_pod(text: str) -> str:
    pods = list(dict.fromkeys(_POD_JUMP.findall(text)))
    return pods[len(pods) // 2] if pods else ""


def _exchanged(text: str, pod: str) -> str:
    """Return a text in which ``pod`` and the measured pod have each other's address."""
    other = {pod: POD_A, POD_A: pod}
    either = "|".join(_address(address) for address in other)
    return re.sub(either, lambda found: other[found[0]], text)


def _address(address: str) -> str:
    """Return the expression for an address that is no part of a longer one."""
    return rf"(?<![\d.]){re.escape(address)}(?![\d.])"


def as_address(text: str) -> str:
    """Return an IPv4 address as ``iptables-save`` writes it; UsageError where it is none."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise UsageError(f"--pod: {text} is no IPv4 address") from error
