"""A host outside of a kind cluster: a container beside its nodes that owns public addresses.

Nodes have routes to it, and it to pods by their nodes, so probes come from 14.215.0.10 as they are
and answers find back, and no such packet goes further than the nodes' own docker network.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.clusters.base import Completed, NodeInfo
from harness.clusters.kind.tools import Tools
from harness.clusters.kube.agents import FIRST, PROBER, probing
from harness.clusters.kube.runner import Runner, runner
from harness.clusters.public import PUBLIC_NETWORKS, PUBLIC_NETWORKS6
from harness.errors import ClusterError
from harness.prober.client import ProberClient

NETWORK_VARIABLE = "KIND_EXPERIMENTAL_DOCKER_NETWORK"
"""kind's own: the docker network that nodes are in."""

NETNS = "outside"
_FOLDER = "/run/npd-netns"
_ADDRESSES = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}"

OnNode = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class OutsideHost:
    """The host, up while :func:`outside` lasts."""

    prober: ProberClient
    server: ProberClient
    """Another, which is there for echo servers: who asks much answers late."""
    netns: str
    runner: Runner

    def run(self, argv: Sequence[str], timeout: float = 60.0) -> Completed:
        """Run a command there."""
        return self.runner.run(argv, timeout)


@contextlib.contextmanager
def outside(
    cluster: str, tools: Tools, image: str, nodes: Sequence[NodeInfo], on_node: OnNode
) -> Iterator[OutsideHost]:
    """Start the host and lay the routes; both are gone afterwards."""
    name = f"npd-outside-{cluster}"
    if _docker(tools, "ps", "--all", "--quiet", f"--filter=name=^{name}$"):
        raise ClusterError(
            f"another run uses the cluster {cluster}; if none does, one crashed there: docker rm"
            f" --force {name}"
        )
    with contextlib.ExitStack() as stack:
        stack.callback(_docker, tools, "rm", "--force", "--volumes", name, required=False)
        network = os.environ.get(NETWORK_VARIABLE, "kind")
        _docker(
            tools, "run", "--detach", "--privileged", f"--network={network}", f"--name={name}",
            "--sysctl=net.ipv4.conf.all.rp_filter=0", image, "/usr/bin/sleep", "infinity",
        )  # fmt: skip
        into = (str(tools.docker), "exec", "--interactive", name)
        commands = stack.enter_context(runner(into))
        own = _docker(tools, "inspect", "--format", _ADDRESSES, name).split()
        _require(commands.run(("sh", "-c", script(own, nodes))))
        for node in nodes:
            for add, take in _node_routes(own):
                on_node(node.name, add)
                stack.callback(_quietly, on_node, node.name, take)
        prober = stack.enter_context(probing((*into, *PROBER, _FOLDER)))
        server = stack.enter_context(probing((*into, *FIRST, *PROBER, _FOLDER)))
        yield OutsideHost(prober, server, NETNS, commands)


def script(own: Sequence[str], nodes: Sequence[NodeInfo]) -> str:
    """Return what makes a host the owner of the public networks, with a way to every pod."""
    versions = {_version(address) for address in own}
    owned = [net for net in (*PUBLIC_NETWORKS, *PUBLIC_NETWORKS6) if net.version in versions]
    return "\n".join(
        (
            "set -e",
            *(f"ip route replace local {network} dev lo" for network in owned),
            *(f"ip route replace {cidr} via {via}" for cidr, via in _ways(nodes)),
            f"mkdir -p {_FOLDER}",
            f"ln -sfn /proc/1/ns/net {_FOLDER}/{NETNS}",
        )
    )


def _ways(nodes: Sequence[NodeInfo]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        for cidr in node.pod_cidrs:
            for address in node.addresses:
                if _version(address) == ipaddress.ip_network(cidr).version:
                    yield cidr, address


def _node_routes(own: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield a node's commands to lay a route to the host, and to take it away."""
    for address in own:
        for network in (*PUBLIC_NETWORKS, *PUBLIC_NETWORKS6):
            if network.version == _version(address):
                route = (str(network), "via", address)
                yield ("ip", "route", "replace", *route), ("ip", "route", "delete", *route)


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version


def _quietly(on_node: OnNode, node: str, argv: Sequence[str]) -> None:
    with contextlib.suppress(ClusterError):  # the node is gone, and its routes with it
        on_node(node, argv)


def _docker(tools: Tools, *arguments: str, required: bool = True) -> str:
    done = subprocess.run(
        (str(tools.docker), *arguments), capture_output=True, text=True, check=False
    )
    if done.returncode and required:
        said = (done.stderr or done.stdout).strip()
        raise ClusterError(f"docker {arguments[0]} failed for the host outside: {said}")
    return done.stdout


def _require(done: Completed) -> None:
    if done.returncode:
        raise ClusterError(f"the host outside cannot be set up: {done.stderr.strip()}")
