"""A run's folder: ``results/<UTC>-<cluster>-<scenario>/``. Written once, re-plotted from then on.

``run.json`` says what was asked (schema version, command line, settings, seed, commit),
``env.json`` on which machine. Both are written when the run starts, so that a run that dies
leaves what it was; :meth:`RunFolder.finish` adds how it ended.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.checkout import commit
from harness.errors import UsageError

SCHEMA_VERSION = 1
"""Raised whenever a stored file changes its meaning."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. Every artefact of the run lies in it."""

    path: Path

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        cluster: str,
        scenario: str,
        command: Sequence[str],
        settings: Mapping[str, Any],
    ) -> RunFolder:
        """Make a new folder below ``root`` and write ``run.json`` and ``env.json`` into it.

        UsageError where nothing can be written.
        """
        require_writable(root)
        started = datetime.now(UTC)
        path = unused(root / f"{started:%Y%m%dT%H%M%SZ}-{cluster}-{scenario}")
        path.mkdir(parents=True)
        folder = cls(path)
        folder.write_json(
            "run.json",
            {
                "schema": SCHEMA_VERSION,
                "started": started.isoformat(timespec="seconds"),
                "cluster": cluster,
                "scenario": scenario,
                "command": list(command),
                "commit": commit() or "unknown",
                "settings": dict(settings),
                "status": "running",
            },
        )
        folder.write_json("env.json", environment())
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a finished run; its schema must be ours."""
        folder = cls(path)
        schema = folder.read_json("run.json")["schema"]
        if schema != SCHEMA_VERSION:
            message = f"{path}: results of schema {schema}; this harness reads {SCHEMA_VERSION}"
            raise ValueError(message)
        return folder

    def read_json(self, name: str) -> Any:
        """Read a stored JSON file."""
        return json.loads((self.path / name).read_text())

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file whole or not at all."""
        return self.write_text(name, json.dumps(value, indent=2, sort_keys=False) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write a file whole or not at all."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(target.name + ".part")
        scratch.write_text(text)
        scratch.replace(target)
        return target

    def folder(self, name: str) -> Path:
        """Return a sub-folder (raw outputs, logs, figures), made when needed."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def go_on(self) -> None:
        """Record that a run that was cut off is taken up again."""
        run = self.read_json("run.json")
        again = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit() or "unknown",
        }
        known = {name: value for name, value in run.items() if name not in {"finished", "reason"}}
        resumed = [*run.get("resumed", []), again]
        self.write_json("run.json", known | {"status": "running", "resumed": resumed})

    def note(self, **facts: Any) -> None:
        """Record facts beside what was asked."""
        self.write_json("run.json", self.read_json("run.json") | facts)

    def finish(self, status: str, **facts: Any) -> None:
        """Record how the run ended: ``passed``, ``failed``, ``partial`` or ``invalid``."""
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        self.note(status=status, finished=finished, **facts)


def enforcers_of(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that ``run.json`` has for the enforcers of a run; older ones have one."""
    settings = run["settings"]
    return tuple(settings.get("enforcers") or (str(settings.get("enforcer", "none")),))


def file_name(words: str) -> str:
    """Return words as the name of a file: ``kube-router=/a/b`` becomes ``kube-router-a-b``."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", words).strip("-.")


def require_writable(root: Path) -> None:
    """Raise UsageError where the folder of all runs cannot be made, or nothing in it."""
    try:
        there = next(path for path in (root, *root.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        message = f"--results {root}: no results can be written there ({error.strerror})"
        raise UsageError(message) from error


def unused(path: Path) -> Path:
    """Return a path as it is, or with a number if there is such a file already."""
    candidates = (path, *(path.with_name(f"{path.name}-{n}") for n in range(2, 1000)))
    return next(candidate for candidate in candidates if not candidate.exists())


def environment() -> dict[str, Any]:
    """Describe the machine: what a figure needs beside it to be compared with another."""
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "distribution": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "versions": {name: _version(argv) for name, argv in _VERSIONS.items()},
        "sysctls": {name: _sysctl(name) for name in _SYSCTLS},
    }


_VERSIONS = {
    "nft": ("nft", "--version"),
    "ip": ("ip", "-V"),
    "nginx": ("nginx", "-v"),
    "ab": ("ab", "-V"),
}
_SYSCTLS = ("net.netfilter.nf_conntrack_max", "net.ipv4.ip_local_port_range", "net.core.somaxconn")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(argv: Sequence[str]) -> str:
    if shutil.which(argv[0]) is None:
        return "not found"
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def _sysctl(name: str) -> str:
    path = Path("/proc/sys") / name.replace(".", "/")
    return path.read_text().strip() if path.exists() else "absent"
