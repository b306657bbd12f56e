"""The command line of the daemon: what it takes, what it refuses, and how it says so."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from enforcer.errors import SettingsError
from enforcer.flags import FLAGS, run_options, settings_from
from enforcer.ruleset.options import DenyAction
from enforcer.settings import LOG_GROUP, Settings, parse_duration

STUDY_FLAGS = (
    "--run-router=false",
    "--run-firewall=true",
    "--run-service-proxy=false",
    "--iptables-sync-period=1s",
    "--cache-sync-timeout=5m",
)


def parse(*argv: str, node: str | None = "node-1") -> tuple[Settings, list[str]]:
    """Parse a command line as ``enforcer run`` would, without running anything."""
    parsed: list[tuple[Settings, list[str]]] = []

    @click.command()
    @run_options
    def command(**values: str | None) -> None:
        parsed.append(settings_from(values))

    result = CliRunner(env={"NODE_NAME": node}).invoke(command, argv)
    if result.exception is not None:
        raise result.exception
    return parsed[0]


def test_study_flags_are_taken_as_they_stand(tmp_path: Path) -> None:
    """The study's DaemonSet starts with the image swapped and nothing else."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()

    settings, warnings = parse(*STUDY_FLAGS, f"--kubeconfig={kubeconfig}")

    assert settings == Settings(node_name="node-1", kubeconfig=kubeconfig)
    assert [line.partition(" ")[0] for line in warnings] == ["--iptables-sync-period"]


def test_a_switch_for_what_is_not_done_here_is_refused() -> None:
    """A flag that asks for routing is an error, not a warning: pods would have no network."""
    with pytest.raises(SettingsError, match="--run-router: this is an enforcer"):
        parse("--run-router=true")


def test_what_kube_router_would_refuse_is_refused_with_the_reason() -> None:
    """A value that is neither true nor false, or no duration, is said to be so, all at once."""
    with pytest.raises(SettingsError) as raised:
        parse(
            "--run-firewall=maybe",
            "--run-router=perhaps",
            "--iptables-sync-period=foo",
            "--routes-sync-period=5",
        )

    assert str(raised.value).splitlines() == [
        "--run-router: 'perhaps' is neither true nor false",
        "--run-firewall: 'maybe' is neither true nor false",
        "--iptables-sync-period: 'foo' is no duration; write it like 1s, 5m or 1m30s",
        "--routes-sync-period: '5' is no duration; write it like 1s, 5m or 1m30s",
    ]


@pytest.mark.parametrize("text", ["false", "0", "F"])
def test_an_enforcer_without_its_firewall_is_refused(text: str) -> None:
    """Switches are written as in Go; without a firewall there is nothing to do."""
    parse(f"--run-router={text}")

    with pytest.raises(SettingsError, match="--run-firewall: false leaves nothing to do"):
        parse(f"--run-firewall={text}")


def test_every_mistake_is_reported_at_once() -> None:
    """Six wrong values and one that is missing give seven lines."""
    with pytest.raises(SettingsError) as raised:
        parse(
            "--kubeconfig=/nonexistent",
            "--health-address=:20244",
            "--health-port=0",
            "--deny-action=shrug",
            "--mark-mask=0x5",
            "--resync-period=often",
            node=None,
        )

    mistakes = str(raised.value).splitlines()
    assert [line.partition(":")[0] for line in mistakes] == [
        "--health-address",
        "--health-port",
        "--deny-action",
        "--resync-period",
        "--node-name",
        "--mark-mask",
        "--kubeconfig",
    ]


def test_a_value_is_read_into_its_type() -> None:
    """What is typed as text arrives as the type that the field has."""
    settings, _ = parse("--deny-action=reject", "--mark-mask=0xff00", "--resync-period=1m30s")

    assert settings.deny_action is DenyAction.REJECT
    assert settings.mark_mask == 0xFF00
    assert settings.resync_period == 90.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("5m", 300.0), ("1h2m3.5s", 3723.5), ("250ms", 0.25), ("0", 0.0)],
)
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    """Kubernetes' people write durations as Go does."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "-1s", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A bare number has no unit, so it is refused rather than guessed."""
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


def test_every_setting_has_a_flag() -> None:
    """A setting that no flag fills could never be set."""
    assert {flag.field for flag in FLAGS} == set(Settings.__dataclass_fields__)


def test_without_a_deny_log_the_table_has_no_log_rules() -> None:
    """Off takes the rules away; on is the default."""
    assert parse()[0].options.log_group == LOG_GROUP
    assert parse("--deny-log=off")[0].options.log_group is None


def test_service_ranges_are_networks_with_commas_between() -> None:
    """One for each family, usually; what is none is said."""
    settings, _ = parse("--service-cidr=10.96.0.0/12, fd00:96::/112")

    assert [str(network) for network in settings.service_cidr] == ["10.96.0.0/12", "fd00:96::/112"]
    with pytest.raises(SettingsError, match=r"--service-cidr: .*10\.96.*; .*fd00::/200"):
        parse("--service-cidr=10.96.0.1/12,fd00::/200")


@pytest.mark.parametrize(
    ("existing", "unknown", "cautions"),
    [("keep", "allow", 1), ("keep", "deny", 0), ("revoke", "allow", 0), ("revoke", "deny", 0)],
)
def test_settings_that_leave_something_open_together_are_warned_of(
    existing: str, unknown: str, cautions: int
) -> None:
    """One line, which names both flags; either of them alone is no reason."""
    values = {"node_name": "n1", "existing_connections": existing, "unknown_pods": unknown}

    _, warnings = settings_from(values)

    assert len(warnings) == cautions
    assert all("--existing-connections=keep with --unknown-pods=allow" in it for it in warnings)
