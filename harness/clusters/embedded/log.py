"""What a cluster's own processes have to say: lines on stderr, which is a log file of theirs."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """Write a line to the log at once."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
