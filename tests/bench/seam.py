"""Three ways to the kernel for one element: a process, a library, the kernel's own messages."""

from __future__ import annotations

import ctypes
import ctypes.util
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Final

from enforcer.nft.diff import diff
from enforcer.nft.kernel import NftKernel
from enforcer.nft.objects import (
    FieldType,
    Ruleset,
    Set,
    Table,
    TableFamily,
    TableId,
    ruleset,
    table,
)
from enforcer.nft.transaction import DeleteTable, Transaction
from tests.bench.figures import Figure, quantile

TABLE: Final = TableId(TableFamily.INET, "bench")
KIND: Final = (FieldType.IPV4, FieldType.PROTOCOL, FieldType.PORT)
SETS, ELEMENTS = 300, 150
"""As many sets and elements as the daemon has at 8,000 pods and 1,000 policies."""

Apply = Callable[[Transaction], None]


def compare(rounds: int) -> Iterator[Figure]:
    """Add an element to one of many sets and take it away again, each way in turn."""
    without = _table(())
    more = _table(("10.255.0.1 . 6 . 80",))
    (add,) = diff(ruleset([without]), ruleset([more]))
    (delete,) = diff(ruleset([more]), ruleset([without]))
    for change in diff(Ruleset(), ruleset([without])):
        NftKernel().apply(change)
    ways = {"an nft process": NftKernel().apply, "raw netlink": _raw()}
    if library := ctypes.util.find_library("nftables"):
        ways["libnftables, one context"] = Library(library).apply
    taken: dict[tuple[str, str], list[float]] = {
        (way, what): [] for way in ways for what in ("add", "delete")
    }
    for _ in range(rounds):
        for way, apply in ways.items():
            taken[way, "add"].append(_seconds(apply, add))
            taken[way, "delete"].append(_seconds(apply, delete))
    NftKernel().apply(Transaction((DeleteTable(TABLE),)))
    for (way, what), seconds in taken.items():
        yield Figure(f"{what} one element by {way}, p50", 1000 * statistics.median(seconds), "ms")
        yield Figure(f"{what} one element by {way}, p99", 1000 * quantile(seconds, 0.99), "ms")


def _table(more: tuple[str, ...]) -> Table:
    common = frozenset(f"10.{n >> 8}.{n & 255}.1 . 6 . 80" for n in range(ELEMENTS))
    sets = [Set(f"s{number}", KIND, common) for number in range(SETS)]
    return table(TABLE, sets=[*sets[1:], Set("s0", KIND, common | {*more})])


def _raw() -> Apply:
    kernel = NftKernel()

    def apply(change: Transaction) -> None:
        kernel.generation()
        kernel.apply(change)

    return apply


def _seconds(apply: Apply, change: Transaction) -> float:
    started = time.perf_counter()
    apply(change)
    return time.perf_counter() - started


class Library:
    """libnftables within this process."""

    def __init__(self, path: str) -> None:
        """Open one context for good."""
        self._library = ctypes.CDLL(path)
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))

    def apply(self, change: Transaction) -> None:
        """Run a transaction."""
        if self._library.nft_run_cmd_from_buffer(self._context, str(change).encode()):
            message = "libnftables refused a transaction"
            raise RuntimeError(message)
