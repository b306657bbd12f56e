"""What a program needs of the machine, and the one sentence for each thing that is missing.

Checks here are cheap and stop at the first answer; :mod:`harness.doctor` is the long story.
Nothing here installs anything.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from harness.errors import MissingError

ADMIN_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where distributions keep nft, ip and nginx: not on everyone's ``PATH``."""

INSTALLERS = {
    "apt": "apt-get install --no-install-recommends",
    "dnf": "dnf install",
    "pacman": "pacman -S",
    "zypper": "zypper install",
    "apk": "apk add",
}
"""Package managers in the columns' order of :data:`PACKAGES`, and how each installs."""

DOWNLOADS = {
    "kubectl": "https://dl.k8s.io/release/v1.34.3/bin/linux/{machine}/kubectl",
    "kind": "https://kind.sigs.k8s.io/dl/v0.32.0/kind-linux-{machine}",
}
"""Programs that not every distribution has a package of, and where their makers have them."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

PACKAGES = ("system-packages.txt", "more-packages.txt")
"""What every machine needs, and what single commands need beside it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A command that a system package brings."""

    command: str
    packages: dict[str, str]
    """Package manager -> name of the package."""
    purpose: str


@cache
def tools() -> dict[str, Tool]:
    """Return every command of :data:`PACKAGES` by its name."""
    folder = files("harness")
    texts = (folder.joinpath(name).read_text(encoding="utf-8") for name in PACKAGES)
    lines = (line for text in texts for line in text.splitlines() if line and line[0] != "#")
    return {tool.command: tool for tool in map(_parse, lines)}


def _parse(line: str) -> Tool:
    command, *rest = line.split(maxsplit=len(INSTALLERS) + 1)
    return Tool(command, dict(zip(INSTALLERS, rest[:-1], strict=True)), rest[-1])


def find_tool(command: str) -> str | None:
    """Return the path of ``command``, looked for where administrators' tools are, too."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *ADMIN_PATHS))
    return shutil.which(command, path=path)


def installer() -> str:
    """Return the name of this machine's package manager; ``apt`` where none is known."""
    programs = {"apt": "apt-get"}
    found = (name for name in INSTALLERS if find_tool(programs.get(name, name)))
    return next(found, "apt")


def install_command(commands: Iterable[str]) -> str:
    """Return what to type on this machine to get ``commands``."""
    manager = installer()
    known = tools()
    packages = {known[c].packages[manager] if c in known else c for c in commands}
    return f"{INSTALLERS[manager]} {' '.join(sorted(packages))}"


def architecture() -> str:
    """Return this machine's name in the paths of Kubernetes' releases."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def download_command(command: str) -> str:
    """Return what to type to get one of :data:`DOWNLOADS`."""
    path = f"/usr/local/bin/{command}"
    url = DOWNLOADS[command].format(machine=architecture())
    return f"curl -fLo {path} {url} && chmod +x {path}"


def require_tools(*commands: str) -> None:
    """Raise :class:`MissingError` that names every absent command and how to install them."""
    missing = [command for command in commands if find_tool(command) is None]
    if missing:
        raise MissingError(f"not found: {', '.join(missing)}; run: {install_command(missing)}")


def as_root() -> str:
    """Return what to type to run this very command as root."""
    spec = sys.modules["__main__"].__spec__  # of a module that was run with -m
    program = [sys.executable, "-m", spec.parent] if spec and spec.parent else [sys.argv[0]]
    return shlex.join(["sudo", *program, *sys.argv[1:]])


def require_root(what: str) -> None:
    """Raise :class:`MissingError` unless this process is root; ``what`` says what for."""
    if os.geteuid() != 0:
        raise MissingError(f"{what} needs root; run: {as_root()}")


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the memory that programs may take without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
