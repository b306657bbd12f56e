"""What this machine's kernel cannot probe, and why: ``python -m harness.prober.support``."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys

from harness.clusters.base import Transport
from harness.prober.sockets import IPPROTO_SCTP


def unsupported() -> dict[str, str]:
    """Return each transport that has no socket here, with the reason as a sentence."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP).close()
    except OSError as problem:
        return {Transport.SCTP: _reason(problem)}
    return {}


def _reason(problem: OSError) -> str:
    if problem.errno in {errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}:
        release = os.uname().release
        return (
            f"the kernel ({release}) has no SCTP; where it is a module, run: modprobe sctp; "
            "in a guest: nox -s lab -- --functional"
        )
    return f"SCTP: {problem.strerror}"


if __name__ == "__main__":
    json.dump(unsupported(), sys.stdout)
