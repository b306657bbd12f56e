"""A stock Debian kernel, and the shell that starts it: fetched and unpacked, never installed.

apt does the fetching and the checking of signatures, with a state of its own, so that no root is
needed and the host's apt is left as it is.
"""

from __future__ import annotations

import enum
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, MissingError
from harness.requirements import find_tool, require_tools

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
META_PACKAGE = "linux-image-amd64"
SHELL_PACKAGE = "busybox-static"


class Release(enum.Enum):
    """A Debian release, by the name that the command line has for it."""

    DEBIAN_11 = "debian11"
    DEBIAN_12 = "debian12"
    DEBIAN_13 = "debian13"

    @property
    def suite(self) -> str:
        """Its name in the archive."""
        return {"debian11": "bullseye", "debian12": "bookworm", "debian13": "trixie"}[self.value]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can be booted."""

    version: str
    """As ``uname -r`` will say it."""
    image: Path
    modules: Path
    """The folder with ``modules.dep``."""
    shell: Path
    """A statically linked busybox."""


def cache_root() -> Path:
    """Return the folder in which unpacked kernels are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "npd" / "lab"


def kernel(release: Release, mirror: str = MIRROR) -> Kernel:
    """Return the kernel of a release, fetched unless an earlier run has left it in the cache.

    MissingError where a tool is missing; HarnessError where apt cannot fetch it.
    """
    folder = cache_root() / release.value
    if not folder.is_dir():
        _fetch(release, mirror, folder)
    return _found_in(folder)


def _fetch(release: Release, mirror: str, folder: Path) -> None:
    require_tools("apt-get", "dpkg-deb", "depmod")
    if not KEYRING.exists():
        raise MissingError(f"{KEYRING} is missing; run: apt-get install debian-archive-keyring")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        apt = _Apt(Path(scratch), release, mirror)
        tree = Path(scratch) / "tree"
        for package in (apt.newest_kernel(), SHELL_PACKAGE):
            _run("dpkg-deb", "-x", str(apt.download(package)), str(tree))
        found = _found_in(tree)
        _run(_admin("depmod"), "-b", str(_module_base(tree)), found.version)
        tree.rename(folder)


def _found_in(tree: Path) -> Kernel:
    image = next((tree / "boot").glob("vmlinuz-*"))
    version = image.name.removeprefix("vmlinuz-")
    modules = _module_base(tree) / "lib" / "modules" / version
    return Kernel(version, image, modules, _base(tree, "bin/busybox") / "bin" / "busybox")


def _module_base(tree: Path) -> Path:
    return _base(tree, "lib/modules")


def _base(tree: Path, path: str) -> Path:
    """Return where a path is: below ``usr`` since Debian 13."""
    return next(base for base in (tree, tree / "usr") if (base / path).exists())


def _admin(command: str) -> str:
    return find_tool(command) or command


class _Apt:
    """apt with lists, caches and sources of its own."""

    def __init__(self, scratch: Path, release: Release, mirror: str) -> None:
        self._scratch = scratch
        self._what = f"{release.suite} from {mirror}"
        for name in ("state/lists/partial", "cache/archives/partial"):
            (scratch / name).mkdir(parents=True)
        (scratch / "status").touch()
        sources = scratch / "sources.list"
        sources.write_text(f"deb [arch=amd64 signed-by={KEYRING}] {mirror} {release.suite} main\n")
        self._options = tuple(
            f"-o{name}={value}"
            for name, value in {
                "APT::Architecture": "amd64",
                "APT::Sandbox::User": "",
                "Dir::Etc::sourcelist": sources,
                "Dir::Etc::sourceparts": "-",
                "Dir::State": scratch / "state",
                "Dir::State::status": scratch / "status",
                "Dir::Cache": scratch / "cache",
                # A release that is no longer supported keeps its last, outdated list.
                "Acquire::Check-Valid-Until": "false",
            }.items()
        )
        self._run("apt-get", "-qq", "update")

    def newest_kernel(self) -> str:
        """Return the package that the meta package stands for."""
        said = self._run("apt-cache", "depends", META_PACKAGE)
        found = re.search(r"linux-image-\d\S+", said)
        if found is None:
            raise HarnessError(f"no kernel: {META_PACKAGE} of {self._what} depends on none")
        return found[0]

    def download(self, package: str) -> Path:
        """Fetch a package and return its file."""
        self._run("apt-get", "-qq", "download", package)
        return next(self._scratch.glob(f"{package}_*.deb"))

    def _run(self, command: str, *arguments: str) -> str:
        return _run(command, *self._options, *arguments, folder=self._scratch, what=self._what)


def _run(*argv: str, folder: Path | None = None, what: str = "") -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        about = f" ({what})" if what else ""
        raise HarnessError(f"{argv[0]} {argv[-1]} failed{about}: {said[0] if said else 'silently'}")
    return done.stdout


def forget(release: Release) -> None:
    """Remove a release's kernel from the cache."""
    shutil.rmtree(cache_root() / release.value, ignore_errors=True)


def missing(commands: Sequence[str]) -> list[str]:
    """Return those of the commands that this machine lacks."""
    return [command for command in commands if find_tool(command) is None]
