"""Lists in pages: ``limit`` and ``continue``, all pages of one list from one version.

https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.clusters.embedded.apiserver.errors import ApiError, Reason, expired
from harness.clusters.embedded.apiserver.store import Record

_OPEN_LISTS = 64
"""Lists that can be continued; an older one is told to start again (410)."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list as it was at ``version``; ``token`` asks for the rest, if there is one."""

    records: Sequence[Record]
    version: int
    token: str = ""
    remaining: int = 0


class Pages:
    """The lists that clients are in the middle of. Records are shared, so keeping one is cheap."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lists: OrderedDict[int, Page] = OrderedDict()
        self._serial = 0

    def first(self, records: Sequence[Record], version: int, limit: int) -> Page:
        """Return the first page of a list; no limit (0) is everything."""
        if not limit or len(records) <= limit:
            return Page(records, version)
        self._serial += 1
        self._lists[self._serial] = Page(records, version)
        if len(self._lists) > _OPEN_LISTS:
            self._lists.popitem(last=False)
        return self._page(self._serial, 0, limit)

    def next(self, token: str, limit: int) -> Page:
        """Return the page that a token asks for."""
        serial, dot, offset = token.partition(".")
        if not (dot and serial.isdecimal() and offset.isdecimal()):
            raise ApiError(Reason.BAD_REQUEST, f"continue key is not valid: {token!r}")
        if int(serial) not in self._lists:
            raise expired("The provided continue parameter is too old: list again without it")
        return self._page(int(serial), int(offset), limit)

    def _page(self, serial: int, offset: int, limit: int) -> Page:
        whole = self._lists[serial]
        end = offset + limit if limit else len(whole.records)
        remaining = max(0, len(whole.records) - end)
        token = f"{serial}.{end}" if remaining else ""
        return Page(whole.records[offset:end], whole.version, token, remaining)
