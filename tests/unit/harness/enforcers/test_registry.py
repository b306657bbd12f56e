from __future__ import annotations

from pathlib import Path

import pytest

from harness.enforcers import make_enforcer, make_enforcers
from harness.enforcers.base import State
from harness.enforcers.kube_router_model.enforcer import KubeRouterModel
from harness.errors import UsageError


@pytest.mark.parametrize("spec", ["none", "bundled", "present", "kube-router-0.2-model"])
def test_a_known_name_gives_the_enforcer_of_that_name(spec: str) -> None:
    """The words of the command line are the enforcer's name in results."""
    assert make_enforcer(spec).name == spec


def test_kube_router_takes_the_path_of_its_binary(binary: Path) -> None:
    """Any kube-router binary can be judged."""
    enforcer = make_enforcer(f"kube-router={binary}")

    assert (enforcer.name, enforcer.describe()["path"]) == ("kube-router", str(binary))


KNOWN = "none, bundled, present, kube-router=PATH, kube-router-0.2-model or linear-rules=N"


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("nonsense", KNOWN),
        ("", KNOWN),
        ("none=1", KNOWN),
        ("bundled=x", KNOWN),
        ("kube-router", "kube-router=PATH"),
        ("kube-router=", "path"),
        ("kube-router=/nowhere/kube-router", "no such file"),
        ("kube-router=/", "no such file"),
        ("linear-rules=some", "linear-rules=100"),
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


def test_several_enforcers_have_ports_of_their_own() -> None:
    """They share a node's namespace, so no two daemons may serve their health at one port."""
    specs = ("bundled", "kube-router-0.2-model", "linear-rules=50", "linear-rules=100")

    made = make_enforcers(specs)

    assert tuple(made) == specs
    ports = [getattr(each, "health_port", None) for each in made.values()]
    assert ports == [20244, 20245, None, None]


def test_two_of_one_name_are_named_by_their_words() -> None:
    """The same model by two commands is two enforcers."""
    specs = ("kube-router-0.2-model=iptables-legacy", "kube-router-0.2-model=iptables-nft")

    made = make_enforcers(specs)

    assert tuple(made) == specs
    rules = [each.rules for each in made.values() if isinstance(each, KubeRouterModel)]
    assert [each.whole for each in rules] == [True, True]


@pytest.mark.parametrize(
    ("specs", "hint"), [(("bundled", "bundled"), "twice"), (("none", "bundled"), "stands alone")]
)
def test_what_cannot_be_measured_together_is_refused(specs: tuple[str, ...], hint: str) -> None:
    """Nothing is compared with itself but in the control."""
    with pytest.raises(UsageError, match=hint):
        make_enforcers(specs)
