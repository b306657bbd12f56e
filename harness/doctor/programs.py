"""The programs that the harness runs, and the Python distributions beside it."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from harness.controlplane.programs import KUBE_PROGRAMS, Missing, Programs, find
from harness.doctor.findings import Finding, absent, attempt, found
from harness.requirements import download_command, find_tool, install_command


def look_python() -> Finding:
    """Report the running Python: an older one than the project needs does not get here."""
    return found(platform.python_version())


def look_tool(command: str, version: str) -> Finding:
    """Ask a command of a system package for its version; ``version`` is the flag."""
    if find_tool(command) is None:
        return absent("not found", install_command([command]))
    return found(attempt([command, version]).said)


def look_distribution(name: str) -> Finding:
    """Look for a Python distribution of the ``harness`` extra."""
    try:
        return found(metadata.version(name))
    except metadata.PackageNotFoundError:
        return absent("not installed", "pip install '.[harness]'")


def look_kubectl() -> Finding:
    """Ask kubectl for its version, without a cluster."""
    return attempt(["kubectl", "version", "--client"]).finding(download_command("kubectl"))


def look_kube_apiserver() -> Finding:
    """Look for a whole real control plane: ``KUBEBUILDER_ASSETS``, ``PATH``, our cache."""
    programs = find()
    match programs:
        case Programs():
            server = programs.paths[KUBE_PROGRAMS[0]]
            return found(f"{programs.version}, {Path(server).parent}")
        case Missing(reason):
            said, _, _ = reason.partition("; run: ")
            return absent(said, "nox -s control-plane")


def look_docker() -> Finding:
    """Ask the Docker daemon, not only its client."""
    if find_tool("docker") is None:
        return absent("not found", install_command(["docker"]))
    asked = attempt(["docker", "version", "--format", "{{.Server.Version}}"])
    return asked.finding("systemctl start docker, or where there is no systemd: dockerd &")


def look_kind() -> Finding:
    """Ask kind for its version."""
    return attempt(["kind", "version"]).finding(download_command("kind"))
