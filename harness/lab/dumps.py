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

_POD_JUMP = re.compile(
    r"(?:^-A .*?-d|ip daddr) (\d+\.\d+\.\d+\.\d+)(?:/32)? .*(?:-j|jump|goto) KUBE-POD-FW-",
    re.MULTILINE,
)
"""How kube-router, of whichever version, leads what is for a pod to the pod's chain."""

_TABLE = re.compile(r"^\s*(?:add )?table \w+ \S+", re.MULTILINE)
"""What stands in every listing of nft, and in none of iptables-save."""


@dataclass(frozen=True, slots=True)
class Dump:
    """A node's saved rules and sets of ipset; ``pod`` is one of its pods."""

    text: str
    """Of ``iptables-save``, or of ``nft list ruleset``."""
    ipset: str
    pod: str

    def rules(self) -> str:
        """Return the rules, about the measured pod."""
        return _exchanged(self.text, self.pod)

    def sets(self) -> str:
        """Return the sets for ``ipset restore``, with the measured pod among them."""
        return _exchanged(self.ipset, self.pod)


def read(rules: Path, ipset: Path | None, pod: str = "") -> Dump:
    """Read a dump; without ``pod`` the one in the middle of kube-router's pods is measured.

    UsageError where the rules know no such pod: they would be measured on nobody's way.
    """
    text = rules.read_text()
    found = pod or _middle_pod(text)
    if not found or not re.search(_address(found), text):
        raise UsageError(f"--rules: {_complaint(rules, found)}")
    return Dump(text, ipset.read_text() if ipset else "", found)


def is_nft(rules: str) -> bool:
    """Whether rules are for ``nft``, and not for ``iptables-restore``."""
    return bool(_TABLE.search(rules))


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
