"""Which commit this program is, for results and images: by git, or by its files without it.

The files: https://git-scm.com/docs/gitrepository-layout
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""SHA-1 or SHA-256."""


def commit(root: Path = ROOT) -> str:
    """Return the commit that is checked out in ``root``; empty where this cannot be known.

    ``-dirty`` stands behind it where files differ, and ``-unchecked`` where git is not there, or
    does not answer, so that nobody looked for that.
    """
    if said := _by_git(root):
        return said
    found = _by_files(root)
    return f"{found}-unchecked" if found else ""


def _by_git(root: Path) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    describe = ("describe", "--always", "--abbrev=40", "--dirty")
    done = subprocess.run([git, "-C", root, *describe], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _by_files(root: Path) -> str:
    try:
        own = _folder(root)
        head = (own / "HEAD").read_text().strip()
        name = head.removeprefix("ref: ")
        found = head if name == head else next(_values(own, name), "")
    except (OSError, UnicodeDecodeError):
        return ""
    return found if _HASH.fullmatch(found) else ""


def _folder(root: Path) -> Path:
    """Return the repository's folder, to which a file leads in a worktree or a submodule."""
    git = root / ".git"
    return git if git.is_dir() else root / git.read_text().strip().removeprefix("gitdir: ")


def _values(own: Path, name: str) -> Iterator[str]:
    """Yield what a reference is: by a file of its name, else by the list of packed ones."""
    shared = own / "commondir"
    common = own / shared.read_text().strip() if shared.is_file() else own
    for folder in (own, common):
        if (folder / name).is_file():
            yield (folder / name).read_text().strip()
    packed = common / "packed-refs"
    for line in packed.read_text().splitlines() if packed.is_file() else ():
        value, _, of = line.partition(" ")
        if of == name:
            yield value
