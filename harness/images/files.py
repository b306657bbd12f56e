"""The root filesystem of an image: Debian packages, the project's wheels, and a launcher.

mmdebstrap does the work (https://manpages.debian.org/mmdebstrap): its variant ``extract`` unpacks
packages and runs nothing of theirs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.images.recipes import NEEDLESS, PYTHON, ROOT, SUITE, Architecture, Recipe
from harness.requirements import require_tools

SITE = "usr/lib/python3/dist-packages"
"""Where Debian's Python looks for packages."""

AUTHORITIES = "etc/ssl/certs/ca-certificates.crt"


def root_filesystem(
    recipe: Recipe, architecture: Architecture, target: Path, mirror: str | None
) -> None:
    """Write the root filesystem of an image to ``target``, a tar file.

    ``mirror`` is the Debian archive to ask; by default the one that this machine uses, where it
    is a Debian, else mmdebstrap's. HarnessError says which command failed, and its last words.
    """
    require_tools("mmdebstrap")
    site = target.with_name("site")
    install_wheels(recipe, architecture, site)
    where = mirror or host_mirror()
    _run(
        [
            "mmdebstrap",
            "--variant=extract",
            f"--architectures={architecture.value}",
            f"--include={','.join(recipe.packages)}",
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--extract-hook={hook}" for hook in _hooks(site, architecture)),
            SUITE,
            str(target),
            *([where] if where else []),
        ]
    )


def install_wheels(recipe: Recipe, architecture: Architecture, site: Path) -> None:
    """Put the project and what it needs into ``site``, as wheels for the image's machine."""
    wheels = site.with_name("wheels")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run([*pip, "wheel", "--no-deps", f"--wheel-dir={wheels}", str(ROOT)])
    (wheel,) = wheels.glob("*.whl")
    platforms = (f"manylinux{tag}_{architecture.platform}" for tag in ("2014", "_2_28", "_2_34"))
    _run(
        [
            *(*pip, "install", f"--target={site}", "--only-binary=:all:"),
            *(f"--python-version={PYTHON}", "--implementation=cp", "--no-compile"),
            *(f"--platform={platform}" for platform in platforms),
            f"{wheel}[{recipe.extra}]" if recipe.extra else str(wheel),
        ]
    )
    shutil.rmtree(site / "bin", ignore_errors=True)
    for package in {"enforcer", "harness"}.difference(recipe.code):
        shutil.rmtree(site / package, ignore_errors=True)


def host_mirror() -> str | None:
    """Return the Debian archive that this machine's apt uses; None where it uses none."""
    apt = shutil.which("apt-get")
    if apt is None:
        return None
    listing = subprocess.run(  # apt's own listing, arguments of ours
        [apt, "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = (line.split() for line in listing.stdout.splitlines())
    found = sorted({row[-1] for row in rows if row[:1] == ["Debian"] and row[1:2] == ["Debian"]})
    return found[0] if found else None


def _hooks(site: Path, architecture: Architecture) -> Sequence[str]:
    """Return what mmdebstrap does to the unpacked packages; "$1" is their root."""
    needless = " ".join(f'"$1"/{path}' for path in NEEDLESS)
    modules = " ".join(f'"$1"/{path}' for path in (SITE, f"usr/lib/python{PYTHON}"))
    hooks = [
        # What base-files would bring: https://wiki.debian.org/UsrMerge
        f'mkdir -p "$1"/{SITE} "$1"/run "$1"/usr/lib64 "$1"/etc/ssl/certs',
        'for path in bin sbin lib lib64; do ln -sfn usr/$path "$1"/$path; done',
        f"sync-in {site} /{SITE}",
        f'cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1"/{AUTHORITIES}',
        f"rm -rf {needless}",
        'find "$1"/usr/share/doc -not -name copyright -not -type d -delete',
        'find "$1"/usr/share/doc -type d -empty -delete',
    ]
    if architecture.value == _native():
        # Modules compiled beforehand: the image's filesystem is read-only when it runs.
        inside = modules.replace('"$1"', "")
        hooks.append(f'chroot "$1" /usr/bin/python3 -m compileall -q {inside}')
    return hooks


def _native() -> str:
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        return ""
    done = subprocess.run(  # our own arguments
        [dpkg, "--print-architecture"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise HarnessError(f"{argv[0]} failed (exit code {done.returncode}):\n{said}")
