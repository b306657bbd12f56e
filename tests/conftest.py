"""What every test shares: which tests this machine can run, and a list of those that it cannot.

A test of the kernel or of a cluster needs root and network namespaces. Where they are not to be
had it is skipped, and the run ends with every skip, counted by its reason: as root on a
distribution's own kernel there is none.

A test that is about a program of others, which nobody has to have, is marked ``optional`` with
what it needs. Without that it is left out rather than skipped, and the run says so: not run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest

from enforcer.fastpath import is_supported
from harness.clusters.kind.tools import find_tools
from harness.controlplane.programs import Programs, find
from harness.doctor.kernel import look_ipvs, look_sctp_sockets
from harness.errors import MissingError
from harness.images.chosen import chosen
from harness.requirements import find_tool

NOT_RUN = pytest.StashKey[Counter[str]]()
"""Why optional tests were left out, and how many for each reason."""

EXAMPLES = 40
"""Examples of a fuzzer among the other tests: some two hundred steps, half a minute."""

STEPS = 4
"""Steps through which each random history of a whole cluster goes, among the other tests."""

FUZZED = pytest.StashKey[list[str]]()
"""A line for each fuzzer and flood: how much it tried, how fast, from which seed."""

KERNEL_NEEDS: Mapping[str, tuple[str, Callable[[], bool]]] = {
    "@flowtables": ("flowtables", is_supported),
    "@ipvs": ("IPVS", lambda: look_ipvs().present),
    "@sctp": ("SCTP", lambda: look_sctp_sockets().present),
}
"""What a kernel may lack: by the name of the need, in words, and how to find out."""

NEEDS_NAMESPACES = ("kernel", "cluster")
TOOLS = ("nft", "ip", "unshare")


@cache
def why_no_namespaces() -> str:
    """Return why tests with real packets cannot run here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root: sudo ./nox -s tests"
    missing = [tool for tool in TOOLS if find_tool(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}: ./nox installs what is missing"
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "nft", "add", "table", "inet", "t"]
    attempt = subprocess.run(command, capture_output=True, text=True, check=False)
    if attempt.returncode != 0:
        return f"needs network namespaces and nf_tables: {attempt.stderr.strip()}"
    return ""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how long and from where fuzzers run: ``nox -s fuzz -- --examples 10000 --seed 7``."""
    group = parser.getgroup("fuzz")
    group.addoption("--examples", type=int, default=EXAMPLES, help="histories of random clusters")
    group.addoption("--steps", type=int, default=STEPS, help="steps of a cluster's random history")
    group.addoption("--seed", type=int, default=0, help="where their randomness begins")
    parser.addoption("--shard", default="1/1", help="only each Nth test from the Ith on: I/N")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of this file; nothing is left out yet."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's `&` has SIGINT ignored, and so had every program that a test interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers",
        "optional(*needs): about programs of others: a command, $VARIABLE that names a binary, or"
        " @control-plane, @flowtables, @ipvs, @sctp",
    )
    config.stash[NOT_RUN] = Counter()
    config.stash[FUZZED] = []


def missing_need(need: str) -> str:
    """Return what one need of an optional test lacks; empty where it is met."""
    if need == "@control-plane":
        return _missing_control_plane()
    if need in KERNEL_NEEDS:
        what, has = KERNEL_NEEDS[need]
        return "" if has() else f"this kernel has no {what}: nox -s lab -- --tests"
    if need == "@kind":
        return _missing_kind()
    if not need.startswith("$"):
        return "" if find_tool(need) else f"{need} is not installed"
    path = os.environ.get(need[1:], "")
    return "" if path and os.access(path, os.X_OK) else f"{need[1:]} names no binary"


@cache
def _missing_control_plane() -> str:
    found = find()
    return "" if isinstance(found, Programs) else found.reason


@cache
def _missing_kind() -> str:
    """Return why no kind cluster can be made here with our images; each lack in one line."""
    if find_spec("pytest_kind") is None:
        return "pytest-kind is not installed: nox -s kind"
    try:
        kind = find_tools()
    except MissingError as error:
        return "; ".join(str(error).splitlines())
    absent = [tag for tag in chosen("").all() if not kind.image_id(tag)]
    return f"no image {', '.join(absent)} in docker; run: nox -s image" if absent else ""


def leave_out_optional(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take optional tests whose needs are not met out of the run, and remember why."""
    left_out = []
    for item in items:
        needs = [need for mark in item.iter_markers("optional") for need in mark.args]
        needs += ["@kind"] if item.get_closest_marker("kind") else []
        lacking = [lack for need in needs if (lack := missing_need(need))]
        if lacking:
            left_out.append(item)
            config.stash[NOT_RUN][", ".join(lacking)] += 1
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def leave_to_others(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep one of several shares of the tests: other machines, with the same files, have the rest.

    Neighbours cost alike, so they are dealt out by turns.
    """
    share, _, shares = config.getoption("--shard").partition("/")
    mine = items[int(share) - 1 :: int(shares)]
    if len(mine) < len(items):
        kept = set(mine)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = mine


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out optional tests that cannot run; skip what needs namespaces where there are none."""
    leave_out_optional(config, items)
    leave_to_others(config, items)
    needy = [item for item in items if any(item.get_closest_marker(m) for m in NEEDS_NAMESPACES)]
    if needy and (reason := why_no_namespaces()):
        for item in needy:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the skips by reason, the most frequent first."""
    reasons = Counter(skip_reason(report) for report in terminalreporter.stats.get("skipped", []))
    for line in terminalreporter.config.stash[FUZZED]:
        terminalreporter.line(f"fuzzed: {line}")
    terminalreporter.section("skips by reason")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5}  {reason}")
    if not reasons:
        terminalreporter.line("none")
    for lack, count in terminalreporter.config.stash[NOT_RUN].most_common():
        terminalreporter.line(f"{count:5}  not run: {lack}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker has to say to the process that prints the summary (pytest-xdist)."""
    said: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if said is not None:
        left_out = session.config.stash[NOT_RUN]
        said["not run"] = dict(left_out)
        said["fuzzed"] = session.config.stash[FUZZED]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each worker whole modules: what the tests of one share is made once (pytest-xdist)."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  # only where it is in use

    class Modules(LoadScopeScheduling):  # type: ignore[misc]  # it ships no types
        def _split_scope(self, nodeid: str) -> str:
            path, _, test = nodeid.partition("::")
            folder = path.rpartition("/")[0]
            if not folder.endswith("api_contract"):
                return path
            plane = "real" if "real" in re.split(r"[][-]", test) else "builtin"
            return f"{folder}/{plane}"  # these modules share one control plane of each kind

    return Modules(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker says at its end; each of them has left out the same tests."""
    said = getattr(node, "workeroutput", {})
    left_out = node.config.stash[NOT_RUN]
    left_out |= Counter(said.get("not run", {}))
    node.config.stash[FUZZED] += said.get("fuzzed", [])


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why one test, or one module, was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
