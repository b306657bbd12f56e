"""Two nodes, a pod on each, a host outside: made anew for each set of rules.

::

    outside 14.215.0.10 ── node a 10.2.0.0/17 ── node b 10.2.128.0/17
                              │                     │
                            pod a                 pod b

From outside to pod a a packet crosses one enforcement point, from pod a to pod b two. The nodes
have what every node has: connection tracking, and a Service proxy's translation tables.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import NamedTuple

from harness.prober.sockets import Namespaces

CLIENT = "14.215.0.10"
"""Inside of the study's network: allowed."""

STRANGER = "14.216.0.10"
"""Outside of it: an enforcing node drops what it sends to pods."""

POD_A, POD_B = "10.2.0.10", "10.2.128.10"
SPACES = ("outside", "a", "b", "pod-a", "pod-b")
NODES = ("a", "b")
POD_DEVICES = ("pod",)
UPLINKS = {"a": ("uplink", "mesh"), "b": ("mesh",)}
PORT = 80


class Ends(NamedTuple):
    """Both ends of what is measured: namespaces, and addresses in them."""

    client_space: str
    client: str
    server_space: str
    server: str


ENDS = {
    1: Ends("outside", CLIENT, "pod-a", POD_A),
    2: Ends("pod-a", POD_A, "pod-b", POD_B),
}
"""By the number of enforcement points on the way."""

PROXY = """
table ip proxy {
	map services {
		type ipv4_addr . inet_service : ipv4_addr . inet_service
		elements = { 10.96.0.1 . 80 : 10.2.0.10 . 80, 10.96.0.2 . 80 : 10.2.128.10 . 80 }
	}
	chain prerouting {
		type nat hook prerouting priority dstnat
		ip daddr 10.96.0.0/16 dnat to ip daddr . tcp dport map @services
	}
	chain postrouting {
		type nat hook postrouting priority srcnat
		ct mark & 0x00004000 == 0x00004000 masquerade
	}
}
"""


class NetworkFailed(Exception):  # noqa: N818  # it names what failed
    """A command of the set-up went wrong."""


@cache
def _namespaces() -> Namespaces:
    return Namespaces.at(Path("/run/netns"))


def inside(space: str) -> AbstractContextManager[None]:
    """Be in a network namespace meanwhile, and whatever is started or opened with us.

    ``ip netns exec`` would be one program more to execute, and a mount namespace, each time.
    """
    return _namespaces().inside(space) if space else nullcontext()


def run(*argv: str, space: str = "", text: str | None = None) -> str:
    """Run a program, in a network namespace if one is named; NetworkFailed says what it said."""
    with inside(space):
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}"
        raise NetworkFailed(message)
    return done.stdout


def build() -> None:
    """Make the namespaces and the wires, and set up the nodes."""
    run("ip", "-batch", "-", text="".join(f"netns add {name}\n" for name in SPACES))
    run("ip", "-batch", "-", text="".join(f"{line}\n" for line in _wires()))
    for name in SPACES:
        run("ip", "-n", name, "-batch", "-", text="".join(f"{line}\n" for line in _setup(name)))
    for node in NODES:
        run("sysctl", "-qw", "net.ipv4.ip_forward=1", space=node)
        run("nft", "-f", "-", space=node, text=PROXY)


def remove() -> None:
    """Delete the namespaces with everything in them."""
    there = {path.name for path in Path("/run/netns").glob("*")}
    for name in SPACES:
        if name in there:
            run("ip", "netns", "del", name)


_WIRES = (
    (("a", "uplink"), ("outside", "eth0")),
    (("a", "mesh"), ("b", "mesh")),
    (("a", "pod"), ("pod-a", "eth0")),
    (("b", "pod"), ("pod-b", "eth0")),
)


def _wires() -> Iterator[str]:
    for one, two in _WIRES:
        yield f"link add {_end(*one)} type veth peer name {_end(*two)}"


def _end(space: str, device: str) -> str:
    return f"{device} netns {space} address {_mac(space, device)}"


def _mac(space: str, device: str) -> str:
    ends = [end for wire in _WIRES for end in wire]
    return f"02:00:00:00:00:{ends.index((space, device)):02x}"


def _knows(device: str, address: str, space: str, its: str) -> str:
    """Return the line that makes a neighbour known for ever.

    Packets to one that is being asked for again take a dearer way: by the clock, so that it would
    hit one cell and not the next.
    """
    return f"neigh add {address} lladdr {_mac(space, its)} dev {device} nud permanent"


def _setup(name: str) -> Iterator[str]:
    yield "link set lo up"
    match name:
        case "outside":
            yield from ("link set eth0 up", "addr add 192.168.7.2/24 dev eth0")
            yield from (f"addr add {it}/32 dev lo" for it in (CLIENT, STRANGER))
            yield f"route add 10.0.0.0/8 via 192.168.7.1 src {CLIENT}"
            yield _knows("eth0", "192.168.7.1", "a", "uplink")
        case "a":
            yield from ("link set uplink up", "link set mesh up", "link set pod up")
            yield from ("addr add 192.168.7.1/24 dev uplink", "addr add 192.168.8.1/24 dev mesh")
            yield from ("addr add 169.254.1.1/32 dev pod", f"route add {POD_A} dev pod")
            yield "route add default via 192.168.7.2"
            yield "route add 10.2.128.0/17 via 192.168.8.2"
            yield _knows("uplink", "192.168.7.2", "outside", "eth0")
            yield _knows("mesh", "192.168.8.2", "b", "mesh")
            yield _knows("pod", POD_A, "pod-a", "eth0")
        case "b":
            yield from ("link set mesh up", "link set pod up", "addr add 192.168.8.2/24 dev mesh")
            yield from ("addr add 169.254.1.1/32 dev pod", f"route add {POD_B} dev pod")
            yield "route add default via 192.168.8.1"
            yield _knows("mesh", "192.168.8.1", "a", "mesh")
            yield _knows("pod", POD_B, "pod-b", "eth0")
        case _:
            yield from ("link set eth0 up",)
            yield f"addr add {POD_A if name == 'pod-a' else POD_B}/32 dev eth0"
            yield from ("route add 169.254.1.1 dev eth0", "route add default via 169.254.1.1")
            yield _knows("eth0", "169.254.1.1", name.removeprefix("pod-"), "pod")
