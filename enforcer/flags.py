"""The command line of ``enforcer run``: one table that feeds click, the checks and the docs.

Values arrive as text and are parsed here, so that every mistake of a command line is reported at
once and not one a run.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from enforcer.errors import SettingsError
from enforcer.model.net import IPNetwork
from enforcer.ruleset.options import AntiSpoofing, DenyAction, ExistingConnections, UnknownPods
from enforcer.settings import (
    NOT_DONE,
    PERIODS,
    REPLACED,
    DenyLogging,
    LogFormat,
    Settings,
    cautions,
    check,
    parse_duration,
)
from enforcer.wiring import FastPath, SameNode


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: the field of Settings that it fills, how its text is read, what it says."""

    field: str
    read: Callable[[str], Any]
    help: str
    environment: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The flag as it is typed."""
        return "--" + self.field.replace("_", "-")


def _one_of(kind: type[enum.Enum]) -> Callable[[str], enum.Enum]:
    def read(text: str) -> enum.Enum:
        try:
            return kind(text)
        except ValueError:
            choices = ", ".join(str(member.value) for member in kind)
            message = f"{text!r} is not one of {choices}"
            raise ValueError(message) from None

    return read


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _LAST_PORT:
        message = f"{text!r} is no TCP port; it has to be a number from 1 to {_LAST_PORT}"
        raise ValueError(message)
    return int(text)


def _bits(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        message = f"{text!r} is no number; write it like 0xffff0000"
        raise ValueError(message) from None


def _level(text: str) -> str:
    if text not in _LEVELS:
        message = f"{text!r} is not one of {', '.join(_LEVELS)}"
        raise ValueError(message)
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        message = f"{text!r} is no IP address; write it like 0.0.0.0 or ::1"
        raise ValueError(message) from None


def _networks(text: str) -> tuple[IPNetwork, ...]:
    found: list[IPNetwork] = []
    mistakes: list[str] = []
    for part in text.split(","):
        try:
            found.append(ipaddress.ip_network(part.strip()))
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return tuple(found)


def _interface_names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if wrong := [name for name in names if not _INTERFACES.fullmatch(name)]:
        message = (
            f"{', '.join(map(repr, wrong))}: no name of an interface; write it like cni0, or cali* "
            "for every name that begins so"
        )
        raise ValueError(message)
    return names


def each_interface(
    _context: click.Context, _option: click.Parameter, names: tuple[str, ...]
) -> frozenset[str]:
    """Return the names of an option that names an interface each time it is given."""
    if wrong := [name for name in names if not _INTERFACE.fullmatch(name)]:
        raise click.BadParameter(f"{', '.join(map(repr, wrong))}: no name of an interface")
    return frozenset(names)


def _pod_patterns(text: str) -> tuple[str, ...]:
    patterns = tuple(part.strip() for part in text.split(","))
    if wrong := [part for part in patterns if part.count("/") != 1 or part[0] in "*/"]:
        message = f"{', '.join(map(repr, wrong))}: write NAMESPACE/NAME, like vpn/gateway-*"
        raise ValueError(message)
    return patterns


def _switch(text: str) -> bool:
    if text not in _SWITCH:
        message = f"{text!r} is neither true nor false"
        raise ValueError(message)
    return _SWITCH[text]


def _firewall(text: str) -> None:
    if not _switch(text):
        message = "false leaves nothing to do; remove the flag"
        raise ValueError(message)


def _not_done(why: str) -> Callable[[str], None]:
    def read(text: str) -> None:
        if _switch(text):
            message = f"this is an enforcer: {why}. Set it to false"
            raise ValueError(message)

    return read


_LAST_PORT = 65535
# At most 15 characters (IFNAMSIZ), with one star at the end.
_INTERFACE = re.compile(r"[\w.:@-]{1,15}")
_INTERFACES = re.compile(rf"{_INTERFACE.pattern}|[\w.:@-]{{1,14}}\*")
# As Go reads them, and so kube-router: https://pkg.go.dev/strconv#ParseBool
_SWITCH = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_LEVELS = ("debug", "info", "warning", "error")

FLAGS: tuple[Flag, ...] = (
    Flag(
        "node_name",
        str,
        "Name of this machine's Node object.",
        environment="NODE_NAME",
        aliases=("--hostname-override",),
    ),
    Flag(
        "kubeconfig",
        Path,
        "Kubeconfig file; without it, the in-cluster service account.",
    ),
    Flag("master", str, "URL of the API server, in place of the kubeconfig's."),
    Flag("health_address", _address, "Address of the health and metrics server."),
    Flag("health_port", _port, "Port of /healthz, /livez, /readyz and /metrics."),
    Flag("mark_mask", _bits, "Bits of the conntrack mark that hold the epoch."),
    Flag("deny_action", _one_of(DenyAction), "drop or reject what no rule allows."),
    Flag(
        "unknown_pods",
        _one_of(UnknownPods),
        "deny or allow pod addresses not known yet, by the Node's spec.podCIDRs or, without, by "
        "--pod-interfaces.",
    ),
    Flag(
        "pod_interfaces",
        _interface_names,
        "Names of interfaces that lead to pods, with commas between and a * for any ending; asked "
        "on a Node without spec.podCIDRs.",
    ),
    Flag(
        "anti_spoofing",
        _one_of(AntiSpoofing),
        "strict: a pod sends from its own addresses only; off: from any.",
    ),
    Flag(
        "forwarding_pods",
        _pod_patterns,
        "Pods that may send from others' addresses, as NAMESPACE/NAME with commas between and * "
        "in names.",
    ),
    Flag(
        "existing_connections",
        _one_of(ExistingConnections),
        "revoke or keep open connections that a tightened policy forbids.",
    ),
    Flag(
        "same_node",
        _one_of(SameNode),
        "How bridges show the packets between pods: nf-call (needs br_netfilter), turn (routed by "
        "the node), or auto, the first of the two that is proved to work.",
    ),
    Flag(
        "fast_path",
        _one_of(FastPath),
        "Take established connections past all rules by a flowtable: on, off, or auto, where the "
        "kernel has flowtables and no pod bridge is in the way.",
    ),
    Flag(
        "cache_sync_timeout",
        parse_duration,
        "Report lists that are still missing after this.",
    ),
    Flag(
        "resync_period",
        parse_duration,
        "Compare the kernel with what it should hold this often.",
    ),
    Flag("deny_log", _one_of(DenyLogging), "Log denied connections: on or off."),
    Flag(
        "service_cidr",
        _networks,
        "Service ranges, with commas between; a policy whose ipBlock overlaps them gets a warning.",
    ),
    Flag("log_level", _level, "debug, info, warning or error."),
    Flag("log_format", _one_of(LogFormat), "text or json."),
)


_KUBE_ROUTER: Mapping[str, Callable[[str], object]] = {
    **{name: _not_done(why) for name, why in NOT_DONE.items()},
    "run-firewall": _firewall,
    **dict.fromkeys(PERIODS, parse_duration),
}
"""kube-router's flags whose value may be wrong, though none of them sets anything here."""


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every flag of the table, and kube-router's, to a click command."""
    for name in {**_KUBE_ROUTER, **REPLACED}:
        option = f"-{name}" if len(name) == 1 else f"--{name}"
        command = click.option(
            option,
            _key(name),
            is_flag=False,
            flag_value="true",
            hidden=True,
            default=None,
        )(command)
    return _with_flags(command, FLAGS)


def options_for(*fields: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds some flags of the table to a click command."""
    chosen = tuple(flag for flag in FLAGS if flag.field in fields)
    return lambda command: _with_flags(command, chosen)


def _with_flags(command: Callable[..., Any], flags: tuple[Flag, ...]) -> Callable[..., Any]:
    for flag in reversed(flags):
        command = click.option(
            flag.name,
            *flag.aliases,
            flag.field,
            envvar=flag.environment,
            help=_help(flag),
            default=None,
        )(command)
    return command


def _key(name: str) -> str:
    return "router_" + name.replace("-", "_")


def _help(flag: Flag) -> str:
    shown = default_of(flag)
    return f"{flag.help} [default: {shown}]" if shown else flag.help


def default_of(flag: Flag) -> str:
    """Return a flag's default as it would be typed; empty where there is none."""
    match Settings.__dataclass_fields__[flag.field].default:
        case enum.Enum() as default:
            return str(default.value)
        case float() as default:
            return f"{default:g}s"
        case int() as default:
            return hex(default) if default > _LAST_PORT else str(default)
        case str() as default:
            return default
        case tuple() as default:
            return ",".join(map(str, default))
        case _:
            return ""


def settings_from(values: Mapping[str, str | None]) -> tuple[Settings, list[str]]:
    """Return the settings that a command line means, and the warnings to print first.

    SettingsError names every mistake, one a line.
    """
    mistakes: list[str] = []
    filled: dict[str, Any] = {}
    for flag in FLAGS:
        text = values.get(flag.field)
        if text is None:
            continue
        try:
            filled[flag.field] = flag.read(text)
        except ValueError as error:
            mistakes.append(f"{flag.name}: {error}")
    mistakes += _kube_router_mistakes(values)
    settings = Settings(**({"node_name": ""} | filled))
    try:
        check(settings)
    except SettingsError as error:
        mistakes.append(str(error))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings, [*_warnings(values), *cautions(settings)]


def _kube_router_mistakes(values: Mapping[str, str | None]) -> list[str]:
    mistakes = []
    for name, read in _KUBE_ROUTER.items():
        text = values.get(_key(name))
        try:
            if text is not None:
                read(text)
        except ValueError as error:
            mistakes.append(f"--{name}: {error}")
    return mistakes


def _warnings(values: Mapping[str, str | None]) -> list[str]:
    return [
        f"--{name} means nothing here: {instead}"
        for name, instead in REPLACED.items()
        if values.get(_key(name)) is not None
    ]
