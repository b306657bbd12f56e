from __future__ import annotations

from pathlib import Path

import pytest

from harness.enforcers import make_enforcer
from harness.enforcers.base import State
from harness.errors import UsageError


@pytest.mark.parametrize("spec", ["none", "bundled", "present", "kube-router-0.2-model"])
def test_a_known_name_gives_the_enforcer_of_that_name(spec: str) -> None:
    """The words of the command line are the enforcer's name in results."""
    assert make_enforcer(spec).name == spec


def test_kube_router_takes_the_path_of_its_binary(binary: Path) -> None:
    """Any kube-router binary can be judged."""
    enforcer = make_enforcer(f"kube-router={binary}")

    assert (enforcer.name, enforcer.describe()["path"]) == ("kube-router", str(binary))


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("nonsense", "none, bundled, present, kube-router=PATH or kube-router-0.2-model"),
        ("", "none, bundled, present, kube-router=PATH or kube-router-0.2-model"),
        ("none=1", "none, bundled, present, kube-router=PATH or kube-router-0.2-model"),
        ("bundled=x", "none, bundled, present, kube-router=PATH or kube-router-0.2-model"),
        ("kube-router", "kube-router=PATH"),
        ("kube-router=", "path"),
        ("kube-router=/nowhere/kube-router", "no such file"),
        ("kube-router=/", "no such file"),
        ("kube-router-0.2-model=nft", "iptables or iptables-legacy or iptables-nft"),
    ],
)
def test_a_wrong_spec_is_wrong_use_and_says_what_would_be_right(spec: str, hint: str) -> None:
    """A wrong ``--enforcer`` is one sentence and exit code 2."""
    with pytest.raises(UsageError, match=hint) as caught:
        make_enforcer(spec)

    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_run_is_wrong_use(binary: Path) -> None:
    """A binary without its executable bit is refused before a cluster is built for it."""
    binary.chmod(0o644)

    with pytest.raises(UsageError, match="not executable; run: chmod"):
        make_enforcer(f"kube-router={binary}")


@pytest.mark.parametrize("tool", ["iptables", "iptables-legacy", "iptables-nft"])
def test_the_model_takes_the_command_for_its_rules(tool: str) -> None:
    """The study's costs differ between the kernel's two filters."""
    enforcer = make_enforcer(f"kube-router-0.2-model={tool}")

    assert (enforcer.name, enforcer.describe()["iptables"]) == ("kube-router-0.2-model", tool)


def test_none_is_absent_whatever_is_done_with_it(tmp_path: Path) -> None:
    """The control arm has no state, no daemon and no cost."""
    none = make_enforcer("none")

    none.disable()
    none.enable()
    none.restart()
    none.uninstall()
    none.wait_ready()

    assert (none.state(), none.cpu_seconds(), list(tmp_path.iterdir())) == (State.ABSENT, 0, [])
