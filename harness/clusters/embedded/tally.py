"""How many pods are how far, counted as changes arrive: asking costs nothing, however many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from harness.clusters.embedded.endpoints import is_ready
from harness.clusters.embedded.podstatus import UNPROBED
from harness.clusters.embedded.wishes import is_held

Object = Mapping[str, Any]
_PROBLEMS = 5
_REFUSED = frozenset({"OutOfpods", "StartError"})


class Tally:
    """Counts pods by namespace; the empty namespace stands for all of them."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._facts: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._problems: dict[str, str] = {}

    def set(self, pod: Object) -> None:
        """Count a new or changed pod."""
        self.drop(pod)
        meta = pod["metadata"]
        facts = (meta["namespace"], _facts(pod))
        self._facts[meta["uid"]] = facts
        self._add(facts, 1)
        if said := _problem(pod.get("status") or {}):
            self._problems[meta["uid"]] = f"{meta['namespace']}/{meta['name']}: {said}"

    def drop(self, pod: Object) -> None:
        """Take a pod out of the count."""
        uid = pod["metadata"]["uid"]
        facts = self._facts.pop(uid, None)
        if facts is not None:
            self._add(facts, -1)
        self._problems.pop(uid, None)

    def seen(self, namespace: str | None) -> dict[str, Any]:
        """Return the counts of a namespace, or of all, and the first problems."""
        counts = self._counts[namespace or ""]
        kinds = ("pods", "ready", "ending", "unscheduled")
        problems = list(self._problems.values())[:_PROBLEMS]
        return {kind: counts[kind] for kind in kinds} | {"problems": problems}

    def _add(self, facts: tuple[str, tuple[str, ...]], number: int) -> None:
        namespace, kinds = facts
        for scope in ("", namespace):
            for kind in kinds:
                self._counts[scope][kind] += number


def _problem(status: Object) -> str:
    """Return what keeps a pod from ever being Ready; empty where nothing does."""
    if status.get("reason") in _REFUSED:
        return str(status.get("message", ""))
    reasons = {one.get("reason"): one.get("message", "") for one in status.get("conditions") or ()}
    return str(reasons.get(UNPROBED, ""))


def _facts(pod: Object) -> tuple[str, ...]:
    """Return what a pod counts as; one that has finished, or is held, counts as nothing."""
    if pod.get("status", {}).get("phase") in {"Succeeded", "Failed"} or is_held(pod):
        return ()
    facts = {
        "pods": True,
        "ready": is_ready(pod),
        "ending": "deletionTimestamp" in pod["metadata"],
        "unscheduled": not pod["spec"].get("nodeName"),
    }
    return tuple(kind for kind, holds in facts.items() if holds)
