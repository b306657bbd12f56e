"""What a long-lived process does about its memory, before and after it takes in a whole cluster."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

M_ARENA_MAX: Final = -8  # malloc.h


def share_one_heap() -> None:
    """Let all threads allocate from one heap; call it before there are any.

    glibc gives each thread a heap of its own, where what sets of thousands leave behind when they
    change stays as holes: 10 MiB after some hundred changes. Only one thread works at a time here.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl does not
    if option is not None:
        option(M_ARENA_MAX, 1)


def settle() -> None:
    """Give back what a list of thousands of objects left behind, and keep the rest out of the way.

    The collector walks through every object that it knows whenever enough new ones came: tens of
    milliseconds for a great cluster, in the middle of a change. What is there now will stay.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
    if trim is not None:
        trim(0)
