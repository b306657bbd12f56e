"""What the daemon does about its memory."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

HEAPS = """
import ctypes, threading
from enforcer.memory import share_one_heap
{first}
let_go = threading.Event()
threads = [threading.Thread(target=lambda: (bytearray(100_000), let_go.wait())) for _ in range(4)]
for thread in threads:
    thread.start()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fflush(ctypes.c_void_p(out))
let_go.set()
"""


def heaps(first: str) -> int:
    """Return how many heaps a process with four more threads has, by glibc's own account."""
    program = HEAPS.format(first=first)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return done.stdout.count(b"<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc's malloc only")
def test_threads_share_one_heap() -> None:
    """Without being told so each thread gets a heap; with it all use the first."""
    assert heaps("pass") > 1
    assert heaps("share_one_heap()") == 1
