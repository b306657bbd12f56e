"""What a cluster may be called: its name is a folder's, and part of sockets' paths."""

from __future__ import annotations

import os
import re
import secrets

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


def complaint(name: str) -> str | None:
    """Say what is wrong with a name; None when it is fine."""
    if _NAME.fullmatch(name):
        return None
    return (
        f"cluster name {name!r}: use at most 40 lower-case letters, digits and hyphens, "
        "beginning and ending with a letter or digit"
    )


def fresh() -> str:
    """Return a cluster name that nothing else uses."""
    return f"run-{os.getpid()}-{secrets.token_hex(3)}"
