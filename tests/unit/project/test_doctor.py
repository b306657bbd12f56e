"""The doctor: what it concludes from what its checks see."""

from __future__ import annotations

import shutil
import sys
from importlib.machinery import ModuleSpec

import pytest
from click.testing import CliRunner

from harness import requirements
from harness.cli import main
from harness.commands import doctor as doctor_command
from harness.doctor import CHECKS, Area, Check, Finding, Need, examine, findings, kernel, programs
from harness.errors import MissingError

PRESENT = Finding(present=True, detail="1.0")
ABSENT = Finding(present=False, detail="not found", remedy="apt-get install thing")


def seen(finding: Finding, need: Need, name: str = "thing") -> Check:
    """Return a check that sees ``finding``."""
    return Check(Area.TOOLS, name, need, f"what {name} serves", lambda: finding)


def ask(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> tuple[int, str]:
    """Run ``harness doctor`` with these checks; return its exit code and all that it printed."""
    monkeypatch.setattr(doctor_command, "examine", lambda: examine(checks))
    result = CliRunner().invoke(main, ["doctor"])
    return result.exit_code, result.output


def test_the_main_job_can_run_where_only_options_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing option is named with what helps, and does not fail the doctor."""
    code, said = ask(
        monkeypatch, seen(PRESENT, Need.MAIN_JOB, "good"), seen(ABSENT, Need.OPTION, "kind")
    )

    assert code == 0
    assert "what kind serves" in said
    assert "apt-get install thing" in said


def test_a_missing_need_of_the_main_job_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the main job lacks is one sentence with the command that helps, and exit code 2."""
    code, said = ask(monkeypatch, seen(ABSENT, Need.MAIN_JOB))

    assert code == 2
    assert said.splitlines()[-1] == (
        "harness: the main job cannot run here for want of thing; apt-get install thing"
    )


def test_what_helps_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks a program is told what to type, not where to read."""
    for module in (findings, programs):
        monkeypatch.setattr(module, "find_tool", lambda _: None)
    asked = [each for each in CHECKS if each.name in {"kubectl", "kind", "docker", "nginx", "ab"}]

    commands = [each.look().remedy.split()[0] for each in asked]

    assert commands.count("curl") == 2
    assert set(commands) <= {
        "curl",
        *(each.split()[0] for each in requirements.INSTALLERS.values()),
    }


def test_a_long_command_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be pasted, however narrow the terminal is."""
    long = "curl -fLo /usr/local/bin/thing https://example.org/" + 10 * "a/long/way/" + "thing"
    absent = Finding(present=False, detail="no", remedy=long)
    look = Check(Area.CLUSTERS, "thing", Need.OPTION, "it", lambda: absent)

    _, said = ask(monkeypatch, seen(PRESENT, Need.MAIN_JOB), look)

    assert long in [line.strip() for line in said.splitlines()]


@pytest.mark.parametrize(
    ("spec", "typed"),
    [
        (None, "/opt/it/bin/harness"),
        (ModuleSpec("harness.__main__", loader=None), f"{sys.executable} -m harness"),
    ],
)
def test_who_is_not_root_is_told_to_run_the_same_as_root(
    monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None, typed: str
) -> None:
    """The program is named as it was called, and so are its arguments."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    monkeypatch.setattr(sys, "argv", ["/opt/it/bin/harness", "cluster", "up", "--name", "a b"])

    assert requirements.as_root() == f"sudo {typed} cluster up --name 'a b'"


def test_a_kernel_feature_is_not_mended_by_a_program_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel without conntrack is told its own remedy, where the program is missing, too."""
    monkeypatch.setattr(doctor_command, "find_tool", lambda _: None)
    look = Check(Area.KERNEL, "conntrack", Need.MAIN_JOB, "judging", lambda: ABSENT)

    _, said = ask(monkeypatch, look)

    assert said.splitlines()[-1].endswith("for want of conntrack; apt-get install thing")


def test_what_could_not_be_tried_is_not_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nft nobody knows of the kernel: the one sentence is about nft alone."""
    real = requirements.find_tool
    monkeypatch.setattr(findings, "find_tool", lambda name: None if name == "nft" else real(name))
    looks = {"nf_tables": kernel.look_nf_tables, "nat": kernel.look_nat}
    checks = (Check(Area.KERNEL, name, Need.MAIN_JOB, "all", look) for name, look in looks.items())

    _, said = ask(monkeypatch, *checks, seen(ABSENT, Need.MAIN_JOB, "nft"))

    assert said.splitlines()[-1] == (
        "harness: the main job cannot run here for want of nft; apt-get install thing"
    )
    assert said.count("not tried") == len(looks)


def test_every_check_says_what_it_serves_and_answers() -> None:
    """On any machine each check answers, and what is absent comes with a reason and a remedy."""
    for diagnosis in examine():
        assert diagnosis.check.serves
        if not diagnosis.finding.present:
            assert diagnosis.finding.detail, diagnosis.check.name
            assert diagnosis.finding.remedy, diagnosis.check.name


def test_checks_have_names_of_their_own() -> None:
    """No two checks share a name."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_every_missing_tool_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message names every absent tool and installs all of them by their packages' names."""
    monkeypatch.setattr(requirements, "find_tool", lambda _: None)

    with pytest.raises(MissingError) as caught:
        requirements.require_tools("nft", "ab")

    assert str(caught.value) == (
        "not found: nft, ab; run: apt-get install --no-install-recommends apache2-utils nftables"
    )


def test_a_package_is_named_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be installed is a package's name, where that is not the command's."""
    monkeypatch.setattr(requirements, "find_tool", lambda _: None)
    commands = ("qemu-system-x86_64", "depmod", "docker", "iptables-legacy", "iptables-restore")

    said = requirements.install_command(commands)

    assert said == (
        "apt-get install --no-install-recommends docker.io iptables kmod qemu-system-x86"
    )


def test_what_is_there_is_not_missed() -> None:
    """A tool on PATH passes without a word."""
    assert shutil.which("sh")

    requirements.require_tools("sh")
