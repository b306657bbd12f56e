"""What every test shares: which tests this machine can run, and a list of those that it cannot.

A test of the kernel or of a cluster needs root and network namespaces. Where they are not to be
had it is skipped, and the run ends with every skip, counted by its reason: as root on a
distribution's own kernel there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from functools import cache

import pytest

NEEDS_NAMESPACES = ("kernel", "cluster")
TOOLS = ("nft", "ip", "unshare")


@cache
def why_no_namespaces() -> str:
    """Return why tests with real packets cannot run here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root: sudo ./nox -s tests"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}: ./nox installs what is missing"
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "nft", "add", "table", "inet", "t"]
    attempt = subprocess.run(command, capture_output=True, text=True, check=False)
    if attempt.returncode != 0:
        return f"needs network namespaces and nf_tables: {attempt.stderr.strip()}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs namespaces where there are none."""
    needy = [item for item in items if any(item.get_closest_marker(m) for m in NEEDS_NAMESPACES)]
    if needy and (reason := why_no_namespaces()):
        for item in needy:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the skips by reason, the most frequent first."""
    reasons = Counter(skip_reason(report) for report in terminalreporter.stats.get("skipped", []))
    terminalreporter.section("skips by reason")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5}  {reason}")
    if not reasons:
        terminalreporter.line("none")


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why one test, or one module, was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
