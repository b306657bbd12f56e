"""From the words of ``--enforcer`` to an :class:`~harness.enforcers.base.Enforcer`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.enforcers import present
from harness.enforcers.base import Enforcer
from harness.enforcers.bundled import Bundled
from harness.enforcers.kube_router import KubeRouter
from harness.enforcers.kube_router_model.enforcer import IPTABLES, KubeRouterModel
from harness.enforcers.linear_rules import MOST_RULES, LinearRules
from harness.enforcers.none import NoEnforcer
from harness.enforcers.present import Present
from harness.errors import UsageError

CHOICES = "none, bundled, present, kube-router=PATH, kube-router-0.2-model or linear-rules=N"
"""What ``--enforcer`` takes, for help texts and messages."""

EMBEDDED = "embedded"
UNINSTALLED = ("none", present.NAME)
"""What installs nothing on a cluster."""


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
    made = _process(*spec.partition("="))
    if cluster != EMBEDDED:
        there_is = "none, bundled or present"
        raise UsageError(f"--enforcer {spec}: on --cluster {cluster} it is {there_is}")
    return made


def _process(name: str, equals: str, value: str) -> Enforcer:
    match name, bool(equals):
        case "kube-router", True:
            return KubeRouter(_binary(value))
        case "kube-router", False:
            raise UsageError("--enforcer kube-router: say which binary: kube-router=PATH")
        case "kube-router-0.2-model", _:
            return KubeRouterModel(_iptables(name, value if equals else IPTABLES[0]))
        case "linear-rules", _:
            return LinearRules(_count(value))
        case _:
            spec = f"{name}{equals}{value}"
            raise UsageError(f"--enforcer {spec}: unknown; it is one of {CHOICES}")


def make_enforcers(specs: Sequence[str], cluster: str = EMBEDDED) -> dict[str, Enforcer]:
    """Return the enforcers of one run, ready to share its nodes, by the names it has for them.

    A name is the enforcer's own, or the words that asked for it where two have the same. Raises
    :class:`~harness.errors.UsageError` with all that is wrong: with one of them, or where one is
    given twice, or ``none`` or ``present`` beside another.
    """
    made, mistakes = [], list(_together(specs))
    for spec in dict.fromkeys(specs):
        try:
            made.append(make_enforcer(spec, cluster))
        except UsageError as mistake:
            mistakes.append(str(mistake))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    if len(made) > 1:
        for number, each in enumerate(made):
            each.share_nodes(number)
    _keep_apart([each for each in made if isinstance(each, KubeRouter | KubeRouterModel)])
    named = Counter(each.name for each in made)
    return {
        each.name if named[each.name] == 1 else spec: each
        for spec, each in zip(specs, made, strict=True)
    }


def _together(specs: Sequence[str]) -> Iterator[str]:
    """Say which words do not go with the others."""
    for spec, times in Counter(specs).items():
        if times > 1:
            yield f"--enforcer {spec}: given twice; the A/A control is always there"
        elif spec in UNINSTALLED and len(specs) > 1:
            yield f"--enforcer {spec} stands alone: off is in every run, and so is A/A"


def _keep_apart(alike: Sequence[KubeRouter | KubeRouterModel]) -> None:
    """Have those that would take each other's chains for their own leave none behind."""
    for each in alike:
        each.rules.whole = len(alike) > 1


def _iptables(name: str, command: str) -> str:
    if command not in IPTABLES:
        known = " or ".join(IPTABLES)
        raise UsageError(f"--enforcer {name}={command}: the command for its rules is {known}")
    return command


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_RULES:
        raise UsageError(
            f"--enforcer linear-rules: say how many, to {MOST_RULES}: linear-rules=100"
        )
    return int(text)


def _binary(text: str) -> Path:
    if not text:
        raise UsageError("--enforcer kube-router=: the path of a kube-router binary is missing")
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"--enforcer kube-router={text}: there is no such file")
    if not os.access(path, os.X_OK):
        raise UsageError(f"--enforcer kube-router={text}: not executable; run: chmod +x {path}")
    return path
