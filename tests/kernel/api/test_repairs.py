"""The daemon beside others on its node: who breaks its tables, a second one, an nft of old."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer.daemon import GENERATION_PERIOD
from tests.kernel.api.node import ROOT, Node
from tests.kernel.netlab import wait_until

pytestmark = pytest.mark.kernel

GUARDED = "10.1.0.5"
NOTICED_SECONDS = 5.0
BROKEN = (
    "delete table ip npd",
    "flush ruleset",
    "insert rule ip npd forward accept",
    f"delete element ip npd in_d4 {{ {GUARDED} }}",
    "rename chain ip npd unknown stranger",
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a node in sync, with a pod that is isolated all the time."""
    with Node(tmp_path_factory.mktemp("node")) as built:
        built.pod("guarded", GUARDED, {"app": "guarded"})
        built.policy("always", {"app": "guarded"})
        built.start_daemon()
        wait_until(lambda: built.status("/readyz") == "200", 60)
        yield built


def enforcer(node: Node, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run another daemon on the node until it ends."""
    flags = ["run", "--node-name=n1", f"--kubeconfig={node.token_file.parent / 'kubeconfig'}"]
    variables = [f"PATH={path}"] if path else []
    command = ["env", *variables, sys.executable, "-m", "enforcer", *flags, "--health-port=20299"]
    return node.call(
        lambda: subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    )


@pytest.mark.parametrize("commands", BROKEN)
def test_what_somebody_breaks_is_counted_and_put_right(node: Node, commands: str) -> None:
    """Looked for every two seconds; each time it is one repair more."""
    before, ruleset = node.metric("enforcer_repairs_total"), node.ruleset()
    assert GENERATION_PERIOD < NOTICED_SECONDS / 2

    node.run("nft", commands)
    assert node.ruleset() != ruleset

    wait_until(lambda: node.metric("enforcer_repairs_total") > before, 60)
    assert node.metric("enforcer_repairs_total") == before + 1
    assert node.is_isolated(GUARDED)
    assert "stranger" not in node.ruleset()
    wait_until(lambda: node.status("/readyz") == "200", 60)


def test_a_second_one_is_refused_and_the_first_goes_on(node: Node) -> None:
    """One sentence that says who is there; the rules are as they were."""
    assert node.daemon is not None
    before = node.ruleset()

    second = enforcer(node)

    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].startswith("enforcer: another enforcer (process ")
    assert "Traceback" not in second.stderr
    assert node.ruleset() == before
    assert (node.daemon.poll(), node.status("/readyz")) == (None, "200")


def test_an_nft_of_old_is_told_by_its_version(node: Node, tmp_path: Path) -> None:
    """What is needed, what is there; nothing is touched."""
    script = tmp_path / "nft"
    script.write_text("#!/bin/sh\necho 'nftables v0.9.8 (E.D.S.)'\n")
    script.chmod(0o755)
    before = node.ruleset()

    old = enforcer(node, f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")

    assert old.returncode == 2
    assert "nft 1.0.2 or newer is needed, this is 'nftables v0.9.8 (E.D.S.)'" in old.stderr
    assert node.ruleset() == before
