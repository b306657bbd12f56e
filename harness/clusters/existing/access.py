"""From ``--kubeconfig`` and ``--context`` to a cluster that answers."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.clusters.kube.kubectl import Kubectl
from harness.errors import MissingError, UsageError
from harness.requirements import find_tool


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster that somebody has: by which file and context, and where its API server is."""

    kubectl: Kubectl
    context: str
    server: str
    version: str
    """Kubernetes' own, as ``v1.34.3``."""

    def __str__(self) -> str:
        """Name it for a person who is asked."""
        return f"context {self.context} ({self.server})"


@dataclass(frozen=True, slots=True)
class Way:
    """How a person says which cluster is meant; what is empty kubectl finds as ever."""

    kubeconfig: str = ""
    context: str = ""
    kubectl: str = ""
    """The program; else ``$KUBECTL``, or kubectl on ``PATH``."""


def find_access(way: Way, folder: Path) -> Access:
    """Return the way to a cluster. UsageError where there is none, MissingError without kubectl.

    A kubeconfig with this context alone is written to ``folder``, for every program of a run: so
    none of them can end up somewhere else, whatever ``$KUBECONFIG`` or another window says.
    """
    program = find_tool(way.kubectl or os.environ.get("KUBECTL", "") or "kubectl")
    if program is None and way.kubectl:
        raise MissingError(f"--kubectl {way.kubectl}: there is no such program")
    if program is None:
        raise MissingError("kubectl is not installed; put it on PATH, or its path in $KUBECTL")
    shown = _alone(program, way.kubeconfig, way.context)
    alone = folder / "kubeconfig"
    alone.touch(mode=0o600)
    alone.write_text(shown)
    kubectl = Kubectl(Path(program), alone)
    current = kubectl.run("config", "current-context").strip()
    server = kubectl.run("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}").strip()
    answer = kubectl.attempt("get", "--raw", "/version")
    if answer.returncode:
        raise UsageError(f"{server}: the API server does not answer: {_last(answer.stderr)}")
    return Access(kubectl, current, server, json.loads(answer.stdout)["gitVersion"])


def _alone(program: str, kubeconfig: str, context: str) -> str:
    """Return a kubeconfig of one context, with all that it names; kubectl finds it as ever."""
    flags = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    flags += [f"--context={context}"] if context else []
    if kubeconfig and not Path(kubeconfig).is_file():
        raise UsageError(f"--kubeconfig {kubeconfig}: there is no such file")
    done = subprocess.run(
        [program, *flags, "config", "view", "--minify", "--flatten", "--raw"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"no cluster to go to: {_last(done.stderr).removeprefix('error: ')}")
    return done.stdout


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]
