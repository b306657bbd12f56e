"""Which images pods run: ours, unless ``--image NAME=REFERENCE`` names others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import UsageError
from harness.images.recipes import RECIPES, Architecture


@dataclass(frozen=True, slots=True)
class Images:
    """References by which nodes know images, in a registry or in their own stores."""

    workload: str
    """What the harness's own pods run: the agents, and clients of load."""

    enforcer: str
    """What a bundled enforcer and its cleanup run."""

    nginx: str
    """What the scenarios' pods run: any nginx with a shell; the workload image has one."""

    load: str = ""
    """What makes load in pods, with locust; empty where nothing does. No ``--image`` names it."""

    def all(self) -> tuple[str, ...]:
        """Return each reference once."""
        return _each(self.enforcer, self.workload, self.nginx, self.load)

    def without_enforcer(self) -> tuple[str, ...]:
        """Return each reference once that a run needs which installs nothing."""
        return _each(self.workload, self.nginx, self.load)


def _each(*references: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, references)))


NAMES = ("workload", "enforcer", "nginx")
"""Of those that ``--image`` can name."""


def complaint(text: str) -> str | None:
    """Say what is wrong with the words of ``--image``; None where they are fine."""
    pairs = list(_pairs(text))
    given = Counter(name for name, _ in pairs)
    wrong = [f"{name}={reference}" for name, reference in pairs if name not in NAMES]
    wrong += [f"{name}=" for name, reference in pairs if name in NAMES and not reference]
    wrong += [f"{name} twice" for name, times in given.items() if name in NAMES and times > 1]
    if not wrong:
        return None
    return f"--image {', '.join(wrong)}: write NAME=REFERENCE, of {', '.join(NAMES)}"


def chosen(text: str, load: str = "") -> Images:
    """Return the images that ``--image`` names, and ours for the rest; UsageError if it is wrong.

    Ours are those of this machine's architecture, as ``nox -s image`` makes them. ``load`` is what
    makes load; empty: nothing does.
    """
    if mistake := complaint(text):
        raise UsageError(mistake)
    given = dict(_pairs(text))
    own = Architecture.own()
    workload = given.get("workload") or RECIPES["workload"].reference(own)
    enforcer = given.get("enforcer") or RECIPES["enforcer"].reference(own)
    return Images(workload, enforcer, given.get("nginx") or workload, load)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for word in filter(None, text.split(",")):
        name, _, reference = word.partition("=")
        yield name.strip(), reference.strip()
