"""What one check saw, and the two ways to try something: on the host, or in a namespace."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from harness.requirements import find_tool, install_command

TIMEOUT = 20.0
"""Seconds that one attempt may take; a longer one counts as a failure."""
_POSITION = re.compile(r"^/dev/stdin:[\d:-]+ Error: ")
"""Where in our own program nft found the error: of no use to a person."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw."""

    present: bool
    detail: str = ""
    """A version, or what went wrong."""
    remedy: str = ""
    """The command that helps, or where the thing can be had; empty where it is present."""
    tried: bool = True
    """Whether it could be looked for at all, or something else stands in the way."""


def found(detail: str = "") -> Finding:
    """Return the finding that all is well."""
    return Finding(present=True, detail=detail)


def absent(detail: str, remedy: str) -> Finding:
    """Return the finding that something is not there."""
    return Finding(present=False, detail=detail, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a command ended."""

    succeeded: bool
    said: str
    """The first line that it printed, on either stream."""
    obstacle: str = ""
    """What helps, where it could not even be tried."""

    def finding(self, remedy: str) -> Finding:
        """Return what it means: present where the command succeeded."""
        if self.obstacle:
            return Finding(present=False, detail=self.said, remedy=self.obstacle, tried=False)
        return found(self.said) if self.succeeded else absent(self.said, remedy)

    def quiet_finding(self, remedy: str) -> Finding:
        """Return the same without what a success printed."""
        return found() if self.succeeded else self.finding(remedy)


def attempt(arguments: Sequence[str], text: str = "") -> Attempt:
    """Run a command with ``text`` as its input; a command that is not there fails, too."""
    path = find_tool(arguments[0])
    if path is None:
        return Attempt(succeeded=False, said=f"{arguments[0]} not found")
    try:
        done = subprocess.run(
            [path, *arguments[1:]],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Attempt(succeeded=False, said=str(error))
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    said = _POSITION.sub("", lines[0]) if lines else ""
    return Attempt(succeeded=done.returncode == 0, said=said)


def attempt_in_namespace(arguments: Sequence[str], text: str = "") -> Attempt:
    """Run a command in a network namespace of its own; in a user namespace where not root."""
    if not can_make_namespaces():
        said = "not tried: no network namespace can be made"
        return Attempt(succeeded=False, said=said, obstacle=NO_NAMESPACES)
    program = arguments[0]
    if find_tool(program) is None:
        said = f"not tried: {program} not found"
        return Attempt(succeeded=False, said=said, obstacle=install_command([program]))
    return attempt([*_UNSHARE, *arguments], text)


@cache
def can_make_namespaces() -> bool:
    """Tell whether this process can make a network namespace at all."""
    return attempt([*_UNSHARE, "true"]).succeeded


NO_NAMESPACES = "run it as root, in a container started with --privileged"
_USER = () if os.geteuid() == 0 else ("--user", "--map-root-user")
_UNSHARE = ("unshare", *_USER, "--mount", "--net", "--")
