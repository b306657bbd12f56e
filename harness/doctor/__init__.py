"""What this machine can do: checks as data, each with what it serves and what helps.

A finding is what one check saw (:mod:`.findings`). Kernel features are tried, not looked up, each
in a network namespace that ends with the attempt (:mod:`.kernel`); programs are asked for their
version (:mod:`.programs`). The table of all of them is :mod:`.checks`; the command that prints it
is :mod:`harness.commands.doctor`.

Nothing in here installs anything or changes the host's own namespace (the kernel may load a
module of its own where a check first uses it). The quick checks that commands make before they
start are :mod:`harness.requirements`.
"""

from __future__ import annotations

from harness.doctor.checks import CHECKS, Area, Check, Diagnosis, Need, examine
from harness.doctor.findings import Finding

__all__ = ["CHECKS", "Area", "Check", "Diagnosis", "Finding", "Need", "examine"]
