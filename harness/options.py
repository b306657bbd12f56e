"""The options that say which cluster a run gets: one table, for click and for pytest.

``harness cluster up``, ``harness functional`` and ``harness perf`` take the same ones; every
mistake is reported at once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness import combinations, names
from harness.errors import UsageError
from harness.images import chosen as images

if TYPE_CHECKING:
    import pytest

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Option:
    """One option: one of ``choices``, a whole number from ``least`` to ``most``, or a text."""

    name: str
    default: str | int
    help: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 0
    check: Callable[[str], str | None] = lambda _: None
    """Says what is wrong with a text; None when it is fine."""

    @property
    def key(self) -> str:
        """Its name as an identifier."""
        return self.name.replace("-", "_")

    @property
    def metavar(self) -> str:
        """What stands for its value in help texts."""
        if self.choices:
            return "|".join(self.choices)
        return "N" if isinstance(self.default, int) else "TEXT"

    def complaint(self, value: Any) -> str | None:
        """Say what is wrong with a value; None when it is fine."""
        flag = f"--{self.name}"
        if self.choices and value not in self.choices:
            return f"{flag} {value!r} is not known; there is: {', '.join(self.choices)}"
        if isinstance(self.default, int):
            return self._out_of_range(value)
        return self.check(str(value))

    def _out_of_range(self, value: Any) -> str | None:
        try:
            number = int(value)
        except (TypeError, ValueError):
            return f"--{self.name} {value!r} is not a whole number"
        if self.least <= number <= self.most:
            return None
        return f"--{self.name} {number} must be from {self.least} to {self.most}"


def _version_complaint(text: str) -> str | None:
    if not text or _VERSION.fullmatch(text):
        return None
    return f"--kubernetes-version {text!r} is no version; write it as v1.34.3"


def _name_complaint(text: str) -> str | None:
    wrong = names.complaint(text) if text else None
    return None if wrong is None else f"--name: {wrong}"


_VERSION = re.compile(r"v\d+\.\d+\.\d+([-+.][-+.0-9A-Za-z]+)?")
_ON_OFF = ("on", "off")
_MISTAKES = f"{__name__}.mistakes"
AUTO = "auto"
EMBEDDED = "embedded"
PROXIES = {
    EMBEDDED: "nftables",
    "kind": "kube-proxy-iptables",
    "kubeconfig": "kube-proxy-iptables",
}
"""What ``--proxy auto`` is, by ``--cluster``."""

CLUSTER_OPTIONS = (
    Option(
        "cluster",
        EMBEDDED,
        "What the cluster is made of: embedded = network namespaces on this machine; kind = real"
        " Kubernetes nodes in docker containers; kubeconfig ="
        " one that is there already, in namespaces of our own.",
        choices=(EMBEDDED, "kind", "kubeconfig"),
    ),
    Option("kubeconfig", "", "The file that leads to it; empty = $KUBECONFIG, or ~/.kube/config."),
    Option("context", "", "The context of that file; empty = its current one."),
    Option("kind", "", "The program kind; empty = $KIND, or kind on PATH. Never downloaded."),
    Option("kubectl", "", "The program kubectl; empty = $KUBECTL, or kubectl on PATH."),
    Option(
        "node-image",
        "",
        "The image of kind's nodes, in docker's store; empty = $KIND_NODE_IMAGE.",
    ),
    Option(
        "image",
        "",
        "What pods on real clusters run, as NAME=REFERENCE, apart by commas: workload (agents and"
        " clients), enforcer, nginx (the scenarios' pods; any stock image of it will do). Empty ="
        " as `nox -s image` makes them. Kind's nodes get them from docker's store.",
        check=images.complaint,
    ),
    Option(
        "control-plane",
        "auto",
        "builtin = a small API server of ours; real = kube-apiserver, etcd, controllers and"
        " scheduler (get them: nox -s control-plane); auto = real when found; in perf, builtin.",
        choices=("auto", "builtin", "real"),
    ),
    Option(
        "kubernetes-version",
        "",
        "The real control plane's version, as v1.34.3; empty = the one that is found.",
        check=_version_complaint,
    ),
    Option("nodes", 2, "How many nodes.", least=1, most=1000),
    Option(
        "cni",
        "routed",
        "How pods are connected: a route to each (as Calico), or a Linux bridge per node; kindnet ="
        " as kind's own CNI does it, whose enforcement is taken away.",
        choices=("routed", "bridged", "kindnet"),
    ),
    Option(
        "bridge-netfilter",
        "off",
        "net.bridge.bridge-nf-call-iptables on the nodes; matters on bridged nodes. mixed = off,"
        " but every other bridge has its own flag set.",
        choices=(*_ON_OFF, "mixed"),
    ),
    Option(
        "bridges",
        1,
        "How many pod bridges each bridged node has; its pods take turns.",
        least=1,
        most=8,
    ),
    Option(
        "ip-family",
        "ipv4",
        "Which addresses pods, Services and nodes have; IPv4 is the primary family of dual.",
        choices=("ipv4", "ipv6", "dual"),
    ),
    Option(
        "proxy",
        AUTO,
        "The Service proxy on the nodes: nftables = a small one of ours; kube-proxy-* = the real"
        " kube-proxy in that mode (needs --control-plane real); auto = nftables, and on kind"
        " kube-proxy-iptables.",
        choices=(AUTO, "nftables", "kube-proxy-nftables", "kube-proxy-iptables", "kube-proxy-ipvs"),
    ),
    Option(
        "masquerade",
        "off",
        "Whether connections from pods to the outside carry their node's address.",
        choices=_ON_OFF,
    ),
    Option("pods-per-node", 110, "Allocatable pods of each node.", least=1, most=4000),
    Option(
        "name",
        "",
        "The cluster's name; two clusters may be up at once.",
        check=_name_complaint,
    ),
)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Which cluster a run gets. Made by :func:`settings_from`."""

    cluster: str = EMBEDDED
    control_plane: str = "auto"
    kubernetes_version: str = ""
    nodes: int = 2
    cni: str = "routed"
    bridge_netfilter: bool = False
    bridge_netfilter_mixed: bool = False
    bridges: int = 1
    ip_family: str = "ipv4"
    proxy: str = "nftables"
    masquerade: bool = False
    pods_per_node: int = 110
    name: str = ""
    kubeconfig: str = ""
    context: str = ""
    kind: str = ""
    kubectl: str = ""
    node_image: str = ""
    image: str = ""
    load_image: str = ""
    """What makes load in pods, with locust; empty: nothing does. ``perf`` sets it."""
    namespaces: tuple[str, ...] = ()
    """The scenario's namespaces, where they have to be made beforehand. No flag sets it."""
    installs: str = ""
    """The enforcer that is going to be installed; empty: none. No flag sets it."""
    agreed: bool = False
    """Whether the owner of an existing cluster agreed to the run. Only ``--yes``, or a person."""
    time_wait: int = 0
    """conntrack's TIME_WAIT timeout on nodes, seconds; 0 leaves the kernel's. No flag sets it."""
    pod_logs: bool = False
    """Whether each nginx logs its requests, for ``kubectl logs``. No flag sets it."""

    @property
    def needs_real(self) -> bool:
        """Whether something was asked for that the builtin control plane does not have."""
        return bool(self.kubernetes_version) or self.proxy.startswith("kube-proxy")


def embedded_only(settings: ClusterSettings, what: str) -> Iterator[str]:
    """Yield a sentence where something of embedded clusters alone is asked of another kind."""
    if settings.cluster != EMBEDDED:
        yield f"{what} works with --cluster embedded, not {settings.cluster}"


def require_embedded(settings: ClusterSettings, what: str) -> None:
    """Raise UsageError where something of embedded clusters alone is asked of another kind."""
    for complaint in embedded_only(settings, what):
        raise UsageError(complaint)


class _Patient(click.Parameter):
    """A parameter whose mistake waits to be told with those of the others.

    For a :class:`PatientCommand`, and for commands with :func:`cluster_options`. Its callback may
    raise UsageError.
    """

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Take the value; remember what is wrong with it."""
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.MissingParameter as mistake:
            _mistakes(ctx).append(mistake.format_message())
        except click.UsageError as mistake:
            _mistakes(ctx).append(f"{self.opts[0]}: {mistake.message}")
        except UsageError as mistake:
            _mistakes(ctx).append(str(mistake))
        return None, args


class PatientOption(_Patient, click.Option):
    """An option whose mistake waits to be told with those of the others."""


class PatientArgument(_Patient, click.Argument):
    """An argument whose mistake waits to be told with those of the others."""


class PatientCommand(click.Command):
    """A command without cluster options that tells all mistakes of its options at once."""

    def invoke(self, ctx: click.Context) -> Any:  # as click has it
        """Run the command; UsageError with a line for each mistake in its options."""
        if mistakes := _mistakes(ctx):
            raise UsageError("\n".join(mistakes))
        return super().invoke(ctx)


def _mistakes(ctx: click.Context) -> list[str]:
    found: list[str] = ctx.meta.setdefault(_MISTAKES, [])
    return found


def cluster_options(*, least_nodes: int = 1) -> Callable[[Function], Function]:
    """Add every cluster option to a click command; it gets them as ``settings``."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def with_settings(*arguments: Any, **values: Any) -> Any:
            own = {option.key: values.pop(option.key) for option in CLUSTER_OPTIONS}
            mistakes = _mistakes(click.get_current_context())
            settings = _settings_unless_wrong(own, least_nodes, mistakes)
            return function(*arguments, settings=settings, **values)

        command: Any = with_settings
        for option in reversed(CLUSTER_OPTIONS):
            command = click.option(
                f"--{option.name}",
                option.key,
                default=str(option.default),
                show_default=bool(option.default),
                metavar=option.metavar,
                help=option.help,
            )(command)
        decorated: Function = command
        return decorated

    return decorate


def _settings_unless_wrong(
    given: Mapping[str, Any], least_nodes: int, mistakes: list[str]
) -> ClusterSettings:
    """Return the settings; UsageError for what is wrong with them, and for other mistakes."""
    try:
        settings = settings_from(given, least_nodes)
    except UsageError as error:
        raise UsageError("\n".join([str(error), *mistakes])) from error
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return settings


def add_pytest_options(parser: pytest.Parser) -> None:
    """Add every cluster option to pytest; read them with :func:`pytest_settings`."""
    group = parser.getgroup("cluster", "the cluster that the cases run on")
    for option in CLUSTER_OPTIONS:
        group.addoption(
            f"--{option.name}",
            dest=f"of_cluster_{option.key}",
            default=option.default,
            metavar=option.metavar,
            help=option.help,
        )


def pytest_settings(config: pytest.Config) -> ClusterSettings:
    """Return what pytest was told."""
    return settings_from(
        {option.key: config.getoption(f"of_cluster_{option.key}") for option in CLUSTER_OPTIONS}
    )


def settings_from(values: Mapping[str, Any], least_nodes: int = 1) -> ClusterSettings:
    """Check values by option key and return the settings; missing ones take their default.

    Raises UsageError with a line for each mistake.
    """
    given = {option.key: values.get(option.key, option.default) for option in CLUSTER_OPTIONS}
    options = [
        replace(option, least=least_nodes) if option.name == "nodes" else option
        for option in CLUSTER_OPTIONS
    ]
    wrong = {option.key: option.complaint(given[option.key]) for option in options}
    alone = [complaint for complaint in wrong.values() if complaint is not None]
    sound = {key: value for key, value in given.items() if wrong[key] is None}
    if complaints := [*alone, *combinations.complaints(sound)]:
        raise UsageError("\n".join(complaints))
    return ClusterSettings(
        cluster=given["cluster"],
        control_plane=given["control_plane"],
        kubernetes_version=given["kubernetes_version"],
        nodes=int(given["nodes"]),
        cni=given["cni"],
        bridge_netfilter=given["bridge_netfilter"] == "on",
        bridge_netfilter_mixed=given["bridge_netfilter"] == "mixed",
        bridges=int(given["bridges"]),
        ip_family=given["ip_family"],
        proxy=PROXIES[given["cluster"]] if given["proxy"] == AUTO else given["proxy"],
        masquerade=given["masquerade"] == "on",
        pods_per_node=int(given["pods_per_node"]),
        name=given["name"],
        kubeconfig=given["kubeconfig"],
        context=given["context"],
        kind=given["kind"],
        kubectl=given["kubectl"],
        node_image=given["node_image"],
        image=given["image"],
    )
