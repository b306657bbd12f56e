"""What a long-lived process does about its memory after it has taken in a whole cluster."""

from __future__ import annotations

import ctypes
import gc


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
