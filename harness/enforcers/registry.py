"""From the words of ``--enforcer`` to an :class:`~harness.enforcers.base.Enforcer`."""

from __future__ import annotations

import os
from pathlib import Path

from harness.enforcers import present
from harness.enforcers.base import Enforcer
from harness.enforcers.bundled import Bundled
from harness.enforcers.kube_router import KubeRouter
from harness.enforcers.kube_router_model.enforcer import IPTABLES, KubeRouterModel
from harness.enforcers.none import NoEnforcer
from harness.enforcers.present import Present
from harness.errors import UsageError

CHOICES = "none, bundled, present, kube-router=PATH or kube-router-0.2-model"
"""What ``--enforcer`` takes, for help texts and messages."""

EMBEDDED = "embedded"


def make_enforcer(spec: str, cluster: str = EMBEDDED) -> Enforcer:
    """Return the enforcer that ``spec`` names; nothing is started yet.

    ``cluster`` is the kind of cluster that it is for: on embedded ones enforcers are processes, on
    others they are deployed. Raises :class:`~harness.errors.UsageError` for an unknown name, and
    for a PATH that is missing or not an executable file.
    """
    match spec:
        case "none":
            return NoEnforcer()
        case present.NAME:
            return Present()
        case "bundled" if cluster == EMBEDDED:
            return Bundled()
        case "bundled":
            from harness.enforcers.deployed import Deployed  # noqa: PLC0415  # clients of clusters

            return Deployed()
    made = _kube_router(*spec.partition("="))
    if cluster != EMBEDDED:
        there_is = "none, bundled or present"
        raise UsageError(f"--enforcer {spec}: on --cluster {cluster} it is {there_is}")
    return made


def _kube_router(name: str, equals: str, value: str) -> Enforcer:
    match name, bool(equals):
        case "kube-router", True:
            return KubeRouter(_binary(value))
        case "kube-router", False:
            raise UsageError("--enforcer kube-router: say which binary: kube-router=PATH")
        case "kube-router-0.2-model", False:
            return KubeRouterModel()
        case "kube-router-0.2-model", True if value in IPTABLES:
            return KubeRouterModel(value)
        case "kube-router-0.2-model", True:
            known = " or ".join(IPTABLES)
            raise UsageError(f"--enforcer {name}={value}: the command for its rules is {known}")
        case _:
            spec = f"{name}{equals}{value}"
            raise UsageError(f"--enforcer {spec}: unknown; it is one of {CHOICES}")


def _binary(text: str) -> Path:
    if not text:
        raise UsageError("--enforcer kube-router=: the path of a kube-router binary is missing")
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"--enforcer kube-router={text}: there is no such file")
    if not os.access(path, os.X_OK):
        raise UsageError(f"--enforcer kube-router={text}: not executable; run: chmod +x {path}")
    return path
