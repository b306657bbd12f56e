"""What is in each image."""

from __future__ import annotations

import enum
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness import __version__

ROOT = Path(__file__).resolve().parents[2]
"""The clone: images are built from it, not from an installed package."""

SUITE = "trixie"
"""The Debian release that images are made of; its Python is :data:`PYTHON`."""

PYTHON = "3.13"


class Architecture(enum.Enum):
    """A machine that images are built for, by Debian's name, which is Docker's, too."""

    AMD64 = "amd64"
    ARM64 = "arm64"

    @property
    def platform(self) -> str:
        """Its name in the tags of wheels (https://peps.python.org/pep-0600/)."""
        return {Architecture.AMD64: "x86_64", Architecture.ARM64: "aarch64"}[self]

    @classmethod
    def own(cls) -> Architecture:
        """Return that of this machine; AMD64 where it is neither."""
        named = {one.platform: one for one in cls}
        return named.get(platform.machine(), cls.AMD64)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image."""

    tag: str
    title: str
    dockerfile: Path
    packages: tuple[str, ...]
    """Debian packages; what they depend on comes along."""
    extra: str | None
    """The extra of the project that is installed; None for the plain distribution."""
    code: tuple[str, ...]
    """The project's own packages that stay; the others of the distribution are left out."""

    def reference(self, architecture: Architecture) -> str:
        """Return the name and tag of the image that this is built to."""
        return f"{self.tag}:{__version__}-{architecture.value}"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "enforcer": Recipe(
            tag="npd-enforcer",
            title="npd enforcer: NetworkPolicy in nftables",
            dockerfile=ROOT / "enforcer" / "deploy" / "Dockerfile",
            packages=(
                "ca-certificates",
                "iproute2",
                "ipset",
                "iptables",  # with ipset: what `enforcer cleanup --kube-router` takes away
                "libpython3-stdlib",
                "nftables",
                "python3-minimal",
            ),
            extra=None,
            code=("enforcer",),
        ),
        "workload": Recipe(
            tag="npd-workload",
            title="npd workload: nginx, ab and the prober",
            dockerfile=ROOT / "harness" / "images" / "workload" / "Dockerfile",
            packages=(
                "apache2-utils",
                "ca-certificates",
                "conntrack",
                "coreutils",
                "dash",
                "ipset",
                "iproute2",
                "iptables",
                "libpython3-stdlib",
                "nftables",
                "nginx-light",
                "procps",
                "python3-minimal",
            ),
            extra=None,
            code=("harness",),
        ),
        "load": Recipe(
            tag="npd-load",
            title="npd load: locust",
            dockerfile=ROOT / "harness" / "images" / "load" / "Dockerfile",
            packages=(
                "ca-certificates",
                "coreutils",
                "dash",
                "libpython3-stdlib",
                "libstdc++6",
                "python3-minimal",
            ),
            extra="load",
            code=(),
        ),
    }
)

NEEDLESS = (
    # Documentation and languages; the copyright files stay, as their licences ask.
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/zoneinfo",
    # What packages' own scripts would need, and none of them runs.
    "usr/share/perl5",
    "usr/share/debconf",
    "usr/share/dpkg",
    "usr/bin/perl*",
    "usr/bin/dpkg*",
    "usr/bin/debconf*",
    "usr/bin/openssl",
    "usr/lib/*/perl-base",
    "usr/lib/*/gconv",
    "var/cache/*",
)
"""Paths of the root filesystem, as the shell matches them, that no image of ours needs."""
