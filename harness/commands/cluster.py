"""``harness cluster``: a cluster that stays, for a person with kubectl."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import time
from collections.abc import Iterator

import click

from harness.clusters import make_embedded
from harness.clusters.base import OutsideRef, PodRef, Probe, Transport, Verdict
from harness.clusters.embedded import launch, state
from harness.clusters.embedded.cluster import EmbeddedCluster
from harness.clusters.embedded.naming import Target, find_place, find_target
from harness.commands.choices import enforcer_option
from harness.commands.ending import terminable
from harness.commands.steps import standard_error, steps
from harness.enforcers import make_enforcer
from harness.errors import UsageError
from harness.options import ClusterSettings, cluster_options, require_embedded
from harness.prober.support import unsupported

_DEFAULT_NAME = "npd"
_NOT_OPEN = 1
_NOT_FOUND = 127
"""What a shell ends with where there is no such command."""

_TRANSPORTS = {one.value.lower(): one for one in Transport}

_VERSIONS = {"ipv4": 4, "ipv6": 6}

_NAME = click.option("--name", default="", help="Which cluster; needed when several are up.")

_HOW_TO_GO_ON = """\
cluster {name} is up: {nodes} nodes, {cni}, enforcer {enforcer} ({seconds:.1f} s)
control plane: {control_plane}
kubeconfig: {kubeconfig}

  export KUBECONFIG={kubeconfig}
  kubectl run web --image=nginx --port=80        # a real nginx in a network namespace
  kubectl get pods -A -o wide
  kubectl create -f policy.yaml --validate=false
  harness cluster probe outside/14.215.0.10 default/web:80{flag}
  harness cluster exec{flag} default/web -- ip address
  harness cluster status{flag}
  harness cluster down{flag}"""


@click.group()
def command() -> None:
    """Build a cluster on this machine, look into it, send probes, take it down."""


@command.command()
@cluster_options()
@enforcer_option
def up(settings: ClusterSettings, enforcer: str) -> None:
    """Bring a cluster up; it stays until `down`. Nothing is left of one that fails."""
    require_embedded(settings, "harness cluster up")
    began = time.monotonic()
    chosen = make_enforcer(enforcer)
    named = _with_name(settings)
    with terminable(), steps(standard_error()) as tell, make_embedded(named, tell) as cluster:
        tell(f"enforcer {chosen.name}", 0, settings.nodes)
        chosen.install(cluster, cluster.folder.logs)
        chosen.wait_ready()
        cluster.note(enforcer=enforcer)
        # From here on the cluster is the user's: a signal must not leave that in doubt.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        cluster.stay()
    click.echo(
        _HOW_TO_GO_ON.format(
            name=cluster.name,
            nodes=settings.nodes,
            cni=settings.cni,
            enforcer=enforcer,
            seconds=time.monotonic() - began,
            kubeconfig=cluster.kubeconfig,
            control_plane=cluster.control_plane,
            flag="" if cluster.name == _DEFAULT_NAME else f" --name {cluster.name}",
        )
    )


@command.command()
@_NAME
@click.option("--all", "everything", is_flag=True, help="Every cluster of this machine.")
def down(name: str, *, everything: bool) -> None:
    """Take a cluster down, and remove what dead ones left."""
    if everything and name:
        raise UsageError("say either --name or --all")
    killed = state.sweep()
    for one in killed:
        click.echo(f"cluster {one} was killed; what it left is removed")
    names = [folder.name for folder in state.running()] if everything else [_pick(name)]
    names = [one for one in names if one not in killed]
    for one in names:
        with steps(standard_error()) as tell:
            launch.end(state.find(one), tell)  # whatever version of the harness brought it up
        click.echo(f"cluster {one} is down")
    if everything:
        state.forget_dead()
    if not names and not killed:
        click.echo("no cluster is up")


@command.command()
@_NAME
def status(name: str) -> None:
    """Say what a cluster is and how its pods are."""
    with _attached(name) as cluster:
        for line in _status_lines(cluster):
            click.echo(line)


def _status_lines(cluster: EmbeddedCluster) -> Iterator[str]:
    facts = cluster.folder.facts()
    seen = cluster.progress()
    shape = {key: value for key, value in cluster.describe().items() if value != ""}
    lines = {
        "name": cluster.name,
        "shape": ", ".join(f"{key}={value}" for key, value in shape.items()),
        "nodes": ", ".join(f"{node.name} {' '.join(node.addresses)}" for node in cluster.nodes()),
        "pods": f"{seen['ready']} of {seen['pods']} ready, {seen['unscheduled']} without a node",
        "services": "in sync" if seen["proxies_settled"] else "being programmed",
        "enforcer": facts.get("enforcer", "none"),
        "kubeconfig": cluster.kubeconfig,
        "logs": cluster.folder.logs,
        "supervisor": f"process {facts.get('pid')}",
    }
    yield from (f"{key + ':':<12}{value}" for key, value in lines.items())
    yield from (f"problem:    {problem}" for problem in seen["problems"])


@command.command("list")
def list_clusters() -> None:
    """List the clusters that are up, one a line, after removing what dead ones left."""
    for folder in state.running():
        click.echo(f"{folder.name}\t{folder.kubeconfig}")


@command.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@_NAME
@click.argument("place")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def execute(ctx: click.Context, name: str, place: str, argv: tuple[str, ...]) -> None:
    """Run a command inside PLACE: a pod, node/NAME or outside/ADDRESS.

    It sees the place's network and this machine's files, and ends with its own exit code.
    """
    command_line = argv[1:] if argv[0] == "--" else argv
    if shutil.which(command_line[0]) is None:
        click.echo(f"harness: {command_line[0]}: no such command on this machine", err=True)
        ctx.exit(_NOT_FOUND)
    with _attached(name) as cluster:
        code = cluster.attach_to(find_place(cluster, place), command_line)
    ctx.exit(code if code >= 0 else 128 - code)


@command.command()
@_NAME
@click.option(
    "--protocol",
    type=click.Choice(list(_TRANSPORTS), case_sensitive=False),
    default="tcp",
    show_default=True,
)
@click.option(
    "--timeout",
    type=click.IntRange(1, 60_000),
    default=1000,
    show_default=True,
    help="Milliseconds of silence after which a probe counts as dropped.",
)
@click.option(
    "--family",
    type=click.Choice(list(_VERSIONS)),
    help="Which of TO's addresses; its primary one unless told.",
)
@click.option("--serve", is_flag=True, help="Start an echo server at TO:PORT for the probe.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO:PORT")
@click.pass_context
def probe(ctx: click.Context, /, source: str, target: str, **options: object) -> None:
    """Open one real connection FROM a place TO:PORT and say how it ended.

    A place is namespace/pod, node/NAME, outside/ADDRESS or an address; TO may be
    svc/NAMESPACE/NAME too. An outside TO gets an echo server for the probe. Ends with 0 if the
    connection was open, else with 1.
    """
    protocol = _TRANSPORTS[str(options["protocol"])]
    if protocol in unsupported():
        raise UsageError(f"not run: {unsupported()[protocol]}")
    patience = int(str(options["timeout"])) / 1000
    with _attached(str(options["name"])) as cluster:
        place, to = (
            find_place(cluster, source),
            find_target(cluster, target, _VERSIONS.get(str(options["family"]))),
        )
        serving = protocol is not Transport.ICMP and (
            bool(options["serve"]) or isinstance(to.owner, OutsideRef)
        )
        with _server(cluster, to, protocol) if serving else contextlib.nullcontext():
            wanted = Probe(place, to.address, to.port, protocol)
            (outcome,) = cluster.probe([wanted], patience)
    seen = "refused" if outcome.verdict is Verdict.RESET else outcome.verdict.value
    detail = f" ({outcome.detail})" if outcome.detail else ""
    at = f"[{to.address}]" if ":" in to.address else to.address
    where = f"{place} -> {target} [{at}:{to.port}/{protocol.lower()}]"
    click.echo(f"{seen}: {where} {outcome.seconds * 1000:.1f} ms{detail}")
    ctx.exit(0 if outcome.verdict is Verdict.OPEN else _NOT_OPEN)


@contextlib.contextmanager
def _server(cluster: EmbeddedCluster, to: Target, protocol: Transport) -> Iterator[None]:
    if to.owner is None:
        raise UsageError(f"--serve: {to.address} belongs to no single place, so nobody can listen")
    everywhere = "::" if ":" in to.address else "0.0.0.0"  # noqa: S104  # in a pod's own network
    address = everywhere if isinstance(to.owner, PodRef) else to.address
    spoken = Transport.UDP if protocol is Transport.UDP_ONE_WAY else protocol
    server = (cluster.netns(to.owner), address, to.port, spoken)
    cluster.prober.serve(*server)
    try:
        yield
    finally:
        cluster.prober.close_server(*server)


def _attached(name: str) -> contextlib.closing[EmbeddedCluster]:
    """Attach to the cluster meant; leaving lets go of it."""
    return contextlib.closing(EmbeddedCluster.attach(_pick(name)))


def _pick(name: str) -> str:
    """Return the cluster meant: the one named, or the only one that is up."""
    if name:
        return name
    names = [folder.name for folder in state.running()]
    if _DEFAULT_NAME in names or not names:
        return _DEFAULT_NAME
    if len(names) > 1:
        raise UsageError(f"several clusters are up: {', '.join(names)}; say which with --name")
    return names[0]


def _with_name(settings: ClusterSettings) -> ClusterSettings:
    return dataclasses.replace(settings, name=settings.name or _DEFAULT_NAME, pod_logs=True)
