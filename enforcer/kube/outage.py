"""An API server that is away, told once and not by every kind at every try."""

from __future__ import annotations

import logging
import time

from enforcer.kube.failures import UnreachableError
from enforcer.model.changes import Kind

logger = logging.getLogger(__name__)


class Outage:
    """Begins with the first kind that cannot be reached and ends when every kind answers."""

    def __init__(self, reminder: float) -> None:
        """Remind every ``reminder`` seconds of an outage that lasts."""
        self._reminder = reminder
        self._away: set[Kind] = set()
        self._began = self._told = 0.0

    def failed(self, kind: Kind, error: UnreachableError) -> None:
        """Note that a kind could not be reached."""
        now = time.monotonic()
        if not self._away:
            self._began = now
        if not self._away or now - self._told >= self._reminder:
            self._told = now
            logger.warning("%s; the rules stay as they are, trying again until it answers", error)
        else:
            logger.debug("%s", error)
        self._away.add(kind)

    def answered(self, kind: Kind) -> None:
        """Note that a kind was answered."""
        if kind in self._away:
            self._away.remove(kind)
            if not self._away:
                lasted = time.monotonic() - self._began
                logger.info("the API server answers again, after %.1f s", lasted)
